// A person at a browser, for the tests: a real Chromium against the server that run.mjs started.
//
// REEVE_URL      where the server is
// REEVE_DATA     its data directory, from which sign-in links and accounts are made
// CHROMIUM       the browser, /usr/bin/chromium unless told otherwise

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { reeve } from './server.mjs';

export const server = process.env.REEVE_URL;
const data = process.env.REEVE_DATA;
assert.ok(server && data, 'these tests are run by scripts/test-web, which starts a server for them');

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const PASSWORD = 'a password for tests of the page';

/** Makes an account with a password. Each file of tests has its own, so that none uses up the calls of another. */
export async function account(email, name, role) {
  await reeve(data, ['users', 'add', email, '--name', name, '--role', role, '--password-stdin'], PASSWORD);
}

/** A link that signs somebody in once: the administrator unless another is named. */
export async function signInLink(email) {
  return (await reeve(data, ['sign-in-link', ...(email ? [email] : [])])).link;
}

/** The links with which the administrator answers one question, on any device. */
export async function answerLinks(approval) {
  return reeve(data, ['approvals', 'link', approval]);
}

/** Calls the API as another program of the same person. */
export async function caller(email) {
  const login = await fetch(`${server}/api/v1/auth/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ email, password: PASSWORD }),
  });
  assert.equal(login.status, 200, `signing ${email} in: ${login.status}`);
  const { access_token } = await login.json();
  return async (method, path, body) => {
    const plain = typeof body === 'string' || body === undefined || body instanceof Uint8Array;
    const response = await fetch(`${server}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${access_token}`, ...(plain ? {} : { 'content-type': 'application/json' }) },
      body: plain ? body : JSON.stringify(body),
    });
    assert.ok(response.ok, `${method} ${path}: ${response.status} ${response.ok ? '' : await response.text()}`);
    return response;
  };
}

/** A browser with a profile of its own. Every complaint of the page is kept in `complaints`. */
export async function visit(options = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'reeve-page-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
    viewport: { width: 1440, height: 900 },
    acceptDownloads: true,
    ...options,
  });
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(20_000);
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

/** Signs in with e-mail and password, as a person does. */
export async function signIn(page, email) {
  await page.getByLabel('E-mail', { exact: true }).fill(email);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation').first().waitFor();
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
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'], iframes: false }));
  return found.violations
    .filter((one) => one.impact === 'serious' || one.impact === 'critical')
    .map((one) => `${one.id}: ${one.help} (${one.nodes.map((node) => node.html.slice(0, 120)).join(' | ')})`);
}

/** The page is given a place on a disk for whatever it saves: one of the browser's own, as nobody is there to be asked. */
export async function savesToDisk(page) {
  await page.evaluate(async () => {
    const home = await navigator.storage.getDirectory();
    globalThis.showSaveFilePicker = ({ suggestedName }) => home.getFileHandle(suggestedName, { create: true });
  });
}

/** What the page saved there under a name, once it is whole. */
export async function savedToDisk(page, name) {
  const bytes = await page.evaluate(async (wanted) => {
    const home = await navigator.storage.getDirectory();
    for (const begun = Date.now(); Date.now() - begun < 20_000; ) {
      const file = await (await home.getFileHandle(wanted, { create: true })).getFile();
      if (file.size > 0) return [...new Uint8Array(await file.arrayBuffer())];
      await new Promise(requestAnimationFrame);
    }
    throw new Error(`${wanted} was not saved`);
  }, name);
  return Buffer.from(bytes);
}
