// The IDE in a real browser against a real server:
//   REEVE_URL=http://127.0.0.1:1100 REEVE_SIGN_IN='http://…/#/sign-in?link=…' node tests/ide.mjs
// With REEVE_SHOTS=<directory> it leaves screenshots there.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const base = process.env.REEVE_URL ?? 'http://127.0.0.1:1100';
const signIn = process.env.REEVE_SIGN_IN;
const shots = process.env.REEVE_SHOTS;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
});
const page = await (await browser.newContext({ viewport: { width: 1440, height: 900 } })).newPage();
page.setDefaultTimeout(15_000);
const errors = [];
page.on('pageerror', (error) => errors.push(error.message));

/** Every request of the page carries the token; the second client borrows it. */
let token = '';
page.on('request', (request) => {
  const header = request.headers()['authorization'];
  if (header) token = header;
});

async function api(method, path, body) {
  const response = await fetch(`${base}/api/v1${path}`, {
    method,
    headers: { authorization: token, ...(typeof body === 'object' ? { 'content-type': 'application/json' } : {}) },
    body: typeof body === 'object' ? JSON.stringify(body) : body,
  });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${response.ok ? '' : await response.text()}`);
  return response;
}

async function shot(name) {
  if (shots) await page.screenshot({ path: join(shots, `ide-${name}.png`) });
}

async function accessible(where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { iframes: false }));
  const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const told = grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`);
  assert.deepEqual(told, [], `accessibility of ${where}`);
}

async function step(name, work) {
  const begun = Date.now();
  try {
    await work();
  } catch (error) {
    await page.screenshot({ path: shots ? join(shots, 'ide-failed.png') : 'ide-failed.png' }).catch(() => undefined);
    throw new Error(`${name}: ${error.message}`);
  }
  console.log(`ok  ${name} (${Date.now() - begun} ms)`);
}

const SERVER = `from http.server import BaseHTTPRequestHandler, HTTPServer


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<h1>Sunny in the workspace</h1>")


print("Listening", flush=True)
HTTPServer(("127.0.0.1", 8000), Hello).serve_forever()
`;

const text = page.locator('.cm-content').first();
const saved = page.locator('footer').getByText('Saved', { exact: true });
let id = '';

async function newFile(name) {
  await page.getByRole('button', { name: 'New file' }).first().click();
  await page.getByLabel('Name of the new file').fill(name);
  await page.keyboard.press('Enter');
  await page.getByRole('tab', { name, selected: true }).waitFor();
  await text.waitFor();
}

async function put(content) {
  await text.click();
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.insertText(content);
  await page.keyboard.press('ControlOrMeta+s');
  await saved.waitFor();
}

const read = async (path) => (await api('GET', `/workspaces/${id}/files/content?path=${encodeURIComponent(path)}`)).text();

try {
  await step('sign in', async () => {
    await page.goto(signIn ?? base);
    await page.getByRole('navigation').first().waitFor();
    await page.waitForFunction(() => !location.hash.includes('sign-in'));
    for (let tries = 0; !token && tries < 100; tries++) await page.waitForTimeout(50);
    assert.ok(token, 'the page asked for something with a token');
  });

  await step('make a workspace and open it', async () => {
    const made = await api('POST', '/workspaces', { name: `IDE test ${Date.now()}`, template: 'python' });
    id = (await made.json()).id;
    await page.goto(`${base}/#/workspaces/${id}`);
    await page.getByRole('tree', { name: 'Files' }).waitFor();
  });

  await step('write a file; it is saved byte for byte', async () => {
    await newFile('server.py');
    await put(SERVER);
    assert.equal(await read('server.py'), SERVER);
    await text.click();
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('# the end\n');
    await saved.waitFor(); // by itself
    await page.waitForFunction(() => !document.querySelector('.close.dirty'));
    assert.equal(await read('server.py'), `${SERVER}# the end\n`);
  });

  await step('a terminal echoes, and is there after loading again', async () => {
    await page.keyboard.press('ControlOrMeta+`');
    await page.locator('.xterm-helper-textarea').first().waitFor({ state: 'attached' });
    await page.locator('.lamp.open').first().waitFor();
    await page.locator('.xterm').first().click();
    await page.keyboard.type('echo seen-$((40+2))\n');
    await page.locator('.xterm-rows').getByText('seen-42').first().waitFor();
    await page.reload();
    await page.locator('.xterm-rows').getByText('seen-42').first().waitFor();
    await page.getByRole('tab', { name: 'server.py' }).waitFor();
  });

  await step('run a web server and see it in the preview', async () => {
    await text.click();
    await page.keyboard.press('ControlOrMeta+Enter');
    await page.getByRole('log', { name: 'Output' }).getByText('Listening').waitFor();
    await page.getByRole('button', { name: 'Preview', exact: true }).first().click();
    await page.getByRole('button', { name: /Port 8000/ }).click();
    await page.frameLocator('iframe').getByText('Sunny in the workspace').waitFor();
    await accessible('the desk');
    await shot('1440-light');
    await page.emulateMedia({ colorScheme: 'dark' });
    await shot('1440-dark');
    await page.setViewportSize({ width: 1024, height: 768 });
    await shot('1024-dark');
    await page.emulateMedia({ colorScheme: 'light' });
    await shot('1024-light');
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByText('Stopped', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Close the preview' }).click();
  });

  await step('a failing program leads to its line', async () => {
    await newFile('broken.py');
    await put('def f():\n    return 1 / 0\n\nf()\n');
    await page.keyboard.press('ControlOrMeta+Enter');
    await page.getByText('Ended with code 1').waitFor();
    await page.getByRole('tab', { name: /Problems/ }).click();
    await page.getByText('ZeroDivisionError').first().click();
    await page.getByText('Ln 2, Col 1').waitFor();
  });

  await step('a conflict shows both versions and loses neither', async () => {
    await text.click();
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('# mine\n');
    await api('PUT', `/workspaces/${id}/files/content?path=broken.py`, '# theirs\n');
    const told = page.getByText('was changed by somebody else');
    await told.first().waitFor();
    const compare = page.getByRole('button', { name: 'Compare', exact: true });
    if (await compare.isVisible()) await compare.click();
    await page.getByLabel('On disk').getByText('# theirs').waitFor();
    await page.getByLabel('Yours').getByText('# mine').waitFor();
    await shot('conflict');
    assert.equal(await read('broken.py'), '# theirs\n');
    await page.getByRole('button', { name: 'Keep mine' }).click();
    await saved.waitFor();
    assert.ok((await read('broken.py')).endsWith('# mine\n'));
  });

  await step('a clean file follows what others save', async () => {
    await api('PUT', `/workspaces/${id}/files/content?path=broken.py`, 'print("from elsewhere")\n');
    await text.getByText('from elsewhere').waitFor();
  });

  await step('search across files leads to the line', async () => {
    await page.keyboard.press('ControlOrMeta+Shift+f');
    await page.getByLabel('Search in files').fill('Sunny in the');
    await page.locator('.hit').first().click();
    await page.getByRole('tab', { name: 'server.py', selected: true }).waitFor();
  });

  await step('phone size', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.getByRole('button', { name: 'Editor', exact: true }).click();
    await text.waitFor();
    await accessible('the editor on a phone');
    await shot('390-light');
    await page.getByRole('button', { name: 'Terminal', exact: true }).click();
    await page.getByRole('tab', { name: 'Terminal' }).click();
    await page.locator('.xterm-rows').getByText('seen-42').first().waitFor();
    await page.emulateMedia({ colorScheme: 'dark' });
    await shot('390-dark');
  });

  assert.deepEqual(errors, [], 'errors of the page');
} finally {
  if (id && token) await api('DELETE', `/workspaces/${id}?force=true`).catch((error) => console.error(error.message));
  await browser.close();
}
