// A person at a browser, for the tests: a real Chromium against a server that runs.
//
// REEVE_URL      where the server is, http://127.0.0.1:1100
// REEVE_LINK     a sign-in link, or only its secret; used once
// REEVE_ASK      a shell command that makes somebody else's question appear in the inbox; without it approving is skipped
// CHROMIUM       the browser, /usr/bin/chromium unless told otherwise

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';

export const server = (process.env.REEVE_URL ?? '').replace(/\/$/, '');
export const link = (process.env.REEVE_LINK ?? '').replace(/^.*[?&]link=/, '');
export const ask = process.env.REEVE_ASK;

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Runs the command that asks a question. */
export async function askSomething() {
  await promisify(execFile)('sh', ['-c', ask], { timeout: 30_000 });
}

/** A browser with a profile of its own. Every complaint of the page is kept in `complaints`. */
export async function visit() {
  const profile = await mkdtemp(join(tmpdir(), 'reeve-page-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
    viewport: { width: 1440, height: 900 },
    acceptDownloads: true,
  });
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(15_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    const text = message.text();
    // A refused call is part of some tests; a script or style that the policy refuses is part of none.
    if (message.type() === 'error' && !text.startsWith('Failed to load resource')) complaints.push(text);
  });
  return {
    page,
    context,
    complaints,
    go: (path) => page.goto(`${server}/#${path}`),
    async close() {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/** What axe finds serious or critical on the page as it is, in words. */
export async function barriers(page) {
  // What is still fading in has the contrast of that moment, not of the page. Spinners never end.
  await page.evaluate(() => {
    const ending = document.getAnimations().filter((one) => one.effect?.getComputedTiming().endTime !== Infinity);
    return Promise.all(ending.map((one) => one.finished.catch(() => undefined))).then(() => undefined);
  });
  // The policy of the page forbids scripts of others: axe is put in by the browser's own debugger.
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return found.violations
    .filter((one) => one.impact === 'serious' || one.impact === 'critical')
    .map((one) => `${one.id}: ${one.help} (${one.nodes.map((node) => node.html.slice(0, 120)).join(' | ')})`);
}
