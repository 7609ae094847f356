// The IDE, used as a person uses it, while a second client works on the same files. Run by scripts/test-web.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { account, barriers, caller, server, signIn, visit } from './visit.mjs';

const EMAIL = 'ida@example.com';
const FIRST_LOAD_KB = 600;
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

let person;
let page;
let api;
let id;
let text;
let saved;
let files;
let desktop;

before(async () => {
  await account(EMAIL, 'Ida', 'developer');
  api = await caller(EMAIL);
  desktop = await mkdtemp(join(tmpdir(), 'reeve-desktop-'));
  person = await visit();
  page = person.page;
  text = page.locator('.cm-content').first();
  saved = page.locator('footer').getByText('Saved', { exact: true });
  files = page.getByRole('tree', { name: 'Files' });
});

after(async () => {
  if (id) await api('DELETE', `/workspaces/${id}?force=true`);
  await person?.close();
  if (desktop) await rm(desktop, { recursive: true, force: true });
});

const contentOf = (path) => `/workspaces/${id}/files/content?path=${encodeURIComponent(path)}`;
const read = async (path) => (await api('GET', contentOf(path))).text();
const theySave = (path, content) => api('PUT', contentOf(path), content);
const screen = (words) => page.locator('.screen.shown .xterm-rows').first().getByText(words).first();
const row = (name) => files.getByText(name, { exact: true });

async function newFile(name) {
  await page.getByRole('button', { name: 'New file' }).first().click();
  await page.getByLabel('Name of the new file').fill(name);
  await page.keyboard.press('Enter');
  await page.getByRole('tab', { name, selected: true }).waitFor();
  await text.waitFor();
}

async function write(content) {
  await text.click();
  await page.keyboard.press('ControlOrMeta+a');
  await page.keyboard.insertText(content);
  await page.keyboard.press('ControlOrMeta+s');
  await saved.waitFor();
}

async function type(command) {
  await page.locator('.screen.shown .xterm').first().click();
  await page.keyboard.type(`${command}\n`);
}

describe('opening', () => {
  it('signs in with e-mail and password', async () => {
    await person.go('/workspaces');
    await signIn(page, EMAIL);
  });

  it('makes a workspace from a template and opens it', async () => {
    await page.getByRole('button', { name: 'New workspace' }).first().click();
    const dialog = page.getByRole('dialog', { name: 'New workspace' });
    await dialog.getByRole('radio', { name: /Python/ }).check({ force: true });
    await dialog.getByLabel('Name', { exact: true }).fill('sunny');
    await dialog.getByRole('button', { name: 'Create and open' }).click();
    await page.waitForURL(/#\/workspaces\/wsp_/);
    id = /wsp_\w+/.exec(page.url())[0];
    await files.getByText('app.py').waitFor();
  });

  it('loads little', async (test) => {
    // A browser that was never here, straight into the IDE with a file open.
    await files.getByText('app.py').click();
    await text.waitFor();
    await page.reload();
    await text.waitFor();
    const bytes = await page.evaluate(() =>
      [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .filter(({ name }) => new URL(name).origin === location.origin && !new URL(name).pathname.startsWith('/api/'))
        .reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0),
    );
    assert.ok(bytes > 50_000, 'the resources of the page were counted');
    const told = `the IDE with a Python file open, as it comes over the wire: ${(bytes / 1000).toFixed(1)} kB of at most ${FIRST_LOAD_KB} kB`;
    console.log(told);
    assert.ok(bytes < FIRST_LOAD_KB * 1000, told);
    test.diagnostic(told);
  });
});

describe('editing', () => {
  it('saves a new file byte for byte', async () => {
    await newFile('server.py');
    await write(SERVER);
    assert.equal(await read('server.py'), SERVER);
  });

  it('saves by itself', async () => {
    await text.click();
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('# the end\n');
    await page.getByRole('tab', { name: 'server.py, not saved yet' }).waitFor();
    await page.getByRole('tab', { name: 'server.py', exact: true }).waitFor();
    await saved.waitFor();
    assert.equal(await read('server.py'), `${SERVER}# the end\n`);
  });

  it('follows what others save while nothing is changed here', async () => {
    await newFile('notes.txt');
    await write('first\n');
    await theySave('notes.txt', 'from elsewhere\n');
    await text.getByText('from elsewhere').waitFor();
  });

  it('shows both versions of a conflict and loses neither', async () => {
    await text.click();
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('# mine\n');
    await theySave('notes.txt', '# theirs\n');
    await page.getByText('was changed by somebody else').first().waitFor();
    // The save that was on its way is refused and compares by itself; a change that is noticed first offers it.
    const compare = page.getByRole('button', { name: 'Compare', exact: true });
    const disk = page.getByLabel('On disk');
    await compare.or(disk).first().waitFor();
    if (await compare.isVisible()) await compare.click().catch(() => undefined);
    await disk.getByText('# theirs').waitFor();
    await page.getByLabel('Yours').getByText('# mine').waitFor();
    assert.equal(await read('notes.txt'), '# theirs\n');
    assert.deepEqual(await barriers(page), []);
    await page.getByRole('button', { name: 'Keep mine' }).click();
    await saved.waitFor();
    assert.ok((await read('notes.txt')).endsWith('# mine\n'));
  });
});

describe('two editors side by side', () => {
  it('show one text, whichever it is typed in', async () => {
    await page.keyboard.press('ControlOrMeta+\\');
    const second = page.getByRole('region', { name: 'Second editor' }).locator('.cm-content');
    await second.waitFor();
    await page.waitForFunction(() => document.activeElement?.closest('[aria-label="Second editor"]'));
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('typed on the right\n');
    await page.getByRole('region', { name: 'Editor', exact: true }).getByText('typed on the right').waitFor();
    await page.keyboard.press('ControlOrMeta+1');
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('typed on the left\n');
    await second.getByText('typed on the left').waitFor();
    await page.keyboard.press('ControlOrMeta+z');
    await second.getByText('typed on the left').waitFor({ state: 'detached' });
    await page.keyboard.press('ControlOrMeta+s');
    await saved.waitFor();
    assert.ok((await read('notes.txt')).endsWith('typed on the right\n'));
    assert.deepEqual(await barriers(page), []);
  });

  it('are remembered, and one goes with its last tab', async () => {
    await page.reload();
    const second = page.getByRole('region', { name: 'Second editor' });
    await second.locator('.cm-content').getByText('typed on the right').waitFor();
    await second.locator('.cm-content').click();
    await page.keyboard.press('Alt+w');
    await second.waitFor({ state: 'detached' });
    await page.getByRole('region', { name: 'Editor', exact: true }).getByText('typed on the right').waitFor();
  });
});

describe('the terminal', () => {
  it('echoes what is typed and done', async () => {
    await page.keyboard.press('ControlOrMeta+`');
    await page.locator('.xterm-helper-textarea').first().waitFor({ state: 'attached' });
    await page.locator('.lamp.open').first().waitFor();
    await type('echo seen-$((40+2))');
    await screen('seen-42').waitFor();
  });

  it('has the size that is seen', async () => {
    const size = async (round) => {
      await type(`echo "size${round}:$(stty size):"`);
      const line = screen(new RegExp(`size${round}:\\d+ \\d+:`));
      await line.waitFor();
      const [, rows, columns] = /:(\d+) (\d+):/.exec(await line.innerText());
      return { rows: Number(rows), columns: Number(columns) };
    };
    const wide = await size(1);
    await page.setViewportSize({ width: 1000, height: 900 });
    await page.waitForFunction((columns) => document.querySelector('.screen.shown .xterm-rows > div') && document.querySelector('.screen.shown .xterm-screen').clientWidth < columns * 7.5, wide.columns);
    const narrow = await size(2);
    assert.ok(narrow.columns < wide.columns, `${narrow.columns} columns are fewer than ${wide.columns}`);
    await page.setViewportSize({ width: 1440, height: 900 });
  });

  it('stands a flood, and Ctrl-C ends it', async () => {
    await type('seq 1 200000; echo flood-$((1+1))');
    await screen('flood-2').waitFor();
    await type('yes overflowing');
    await screen('overflowing').waitFor();
    await page.keyboard.press('Control+c');
    await type('echo calm-$((2+1))');
    await screen('calm-3').waitFor();
  });

  it('is there with what it said after loading again', async () => {
    await type('clear; echo kept-$((6*7))');
    await screen('kept-42').waitFor();
    await page.reload();
    await screen('kept-42').waitFor();
    await page.locator('.lamp.open').first().waitFor();
    await page.getByRole('tab', { name: 'server.py' }).waitFor();
    await type('echo still-$((1+3))');
    await screen('still-4').waitFor();
  });

  it('is one of several, side by side', async () => {
    await page.getByRole('button', { name: 'Split terminal' }).click();
    await page.locator('.lamp.open').nth(1).waitFor();
    assert.equal(await page.locator('.screen.shown').count(), 2);
    await page.getByRole('list', { name: 'Terminals' }).getByRole('button', { name: /^Close terminal/ }).last().click();
    await page.getByRole('list', { name: 'Terminals' }).waitFor({ state: 'detached' });
    await screen('still-4').waitFor();
  });
});

describe('running', () => {
  it('runs a web server that was written here, notices its port and shows it', async () => {
    await page.getByRole('tab', { name: 'server.py' }).click();
    await text.getByText('Sunny in the workspace').waitFor();
    await page.getByRole('button', { name: 'Run this file' }).click();
    await page.getByRole('log', { name: 'Output' }).getByText('Listening').waitFor();
    await page.getByRole('button', { name: 'Ports 1' }).waitFor();
    await page.getByRole('button', { name: 'Preview', exact: true }).first().click();
    await page.getByRole('button', { name: /Port 8000/ }).click();
    await page.frameLocator('iframe').getByText('Sunny in the workspace').waitFor();
    const address = await page.locator('iframe').getAttribute('src');
    assert.notEqual(new URL(address).origin, new URL(server).origin, 'a preview has an origin of its own');
    assert.deepEqual(await barriers(page), []);
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.getByText('Stopped', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Close the preview' }).click();
  });

  it('leads from a failure to its line', async () => {
    await newFile('broken.py');
    await write('def f():\n    return 1 / 0\n\nf()\n');
    await page.keyboard.press('ControlOrMeta+Enter');
    await page.getByText('Ended with code 1').waitFor();
    await page.getByRole('tab', { name: /Problems/ }).click();
    await page.getByText('ZeroDivisionError').first().click();
    await page.getByText('Ln 2, Col 1').waitFor();
  });
});

describe('files', () => {
  it('are found by what is in them', async () => {
    await page.keyboard.press('ControlOrMeta+Shift+F');
    await page.getByLabel('Search in files').fill('Sunny in the');
    await page.locator('.hit').first().click();
    await page.getByRole('tab', { name: 'server.py', selected: true }).waitFor();
  });

  it('are uploaded by dropping them', async () => {
    await page.keyboard.press('ControlOrMeta+Shift+E');
    await files.waitFor();
    const content = 'from the desktop\n'.repeat(100);
    await writeFile(join(desktop, 'dropped.txt'), content);
    const { x, y, width, height } = await files.boundingBox();
    const at = { x: x + width / 2, y: y + height - 20 };
    const drag = { ...at, data: { items: [], files: [join(desktop, 'dropped.txt')], dragOperationsMask: 1 } };
    const browser = await person.context.newCDPSession(page);
    for (const kind of ['dragEnter', 'dragOver', 'drop']) await browser.send('Input.dispatchDragEvent', { type: kind, ...drag });
    await row('dropped.txt').waitFor();
    assert.equal(await read('dropped.txt'), content);
  });

  it('are renamed in place, trashed, and brought back', async () => {
    await row('dropped.txt').click();
    await page.getByRole('tab', { name: 'dropped.txt', selected: true }).waitFor();
    await files.focus();
    await page.keyboard.press('F2');
    await page.getByLabel('New name').fill('renamed.txt');
    await page.keyboard.press('Enter');
    await page.getByRole('tab', { name: 'renamed.txt' }).waitFor();
    await row('renamed.txt').waitFor();
    await files.focus();
    await page.keyboard.press('Delete');
    await row('renamed.txt').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Undo' }).click();
    await row('renamed.txt').waitFor();
  });

  it('are chosen together, cut and pasted, trashed and brought back', async () => {
    await api('POST', `/workspaces/${id}/files/operations`, { op: 'create_directory', path: 'box' });
    for (const name of ['a.txt', 'b.txt', 'c.txt']) await theySave(`many-${name}`, name);
    await row('many-c.txt').waitFor();
    await row('many-a.txt').click();
    await row('many-c.txt').click({ modifiers: ['Shift'] });
    await row('many-b.txt').click({ modifiers: ['ControlOrMeta'] });
    assert.equal(await files.locator('[aria-selected=true]').count(), 2);
    await page.keyboard.press('ControlOrMeta+x');
    await row('box').click();
    await page.keyboard.press('ControlOrMeta+v');
    await files.locator('[aria-level="2"]').nth(1).waitFor();
    assert.equal(await read('box/many-a.txt'), 'a.txt');
    await row('many-b.txt').click();
    await page.getByRole('tab', { name: 'many-b.txt', selected: true }).waitFor();
    await row('renamed.txt').click({ modifiers: ['ControlOrMeta'] });
    await page.keyboard.press('Delete');
    await page.getByText('2 entries are in the trash.').waitFor();
    await row('many-b.txt').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Undo' }).last().click();
    await row('many-b.txt').waitFor();
    await row('renamed.txt').waitFor();
  });

  it('are uploaded in pieces, which can be stopped and leaves nothing', async () => {
    await writeFile(join(desktop, 'large.bin'), Buffer.alloc(24 * 1024 * 1024, 7));
    // The second piece waits until the upload has been stopped.
    let hold;
    const held = new Promise((resolve) => (hold = resolve));
    await page.route('**/files/uploads/*', async (route) => {
      if (route.request().method() !== 'PATCH' || route.request().headers()['upload-offset'] === '0') return route.continue();
      await held;
      await route.continue().catch(() => undefined);
    });
    const gone = page.waitForResponse((response) => response.request().method() === 'DELETE' && response.url().includes('/files/uploads/'));
    await page.locator('input[type=file]').setInputFiles(join(desktop, 'large.bin'));
    await page.waitForFunction(() => (document.querySelector('.uploads progress')?.value ?? 0) > 0);
    await page.getByRole('button', { name: 'Stop the upload of large.bin' }).click();
    await page.getByText('The upload of large.bin was stopped.').waitFor();
    assert.ok((await gone).ok());
    hold();
    await page.unroute('**/files/uploads/*');
    await page.locator('input[type=file]').setInputFiles(join(desktop, 'large.bin'));
    await page.getByText('large.bin has been uploaded.').waitFor();
    await row('large.bin').waitFor();
    const stat = await (await api('GET', `/workspaces/${id}/files/stat?path=large.bin`)).json();
    assert.equal(stat.size, 24 * 1024 * 1024);
  });
});

describe('on a phone', () => {
  it('edits and has its terminal', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.getByRole('button', { name: 'Editor', exact: true }).click();
    await text.waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.getByRole('button', { name: 'Terminal', exact: true }).click();
    await page.getByRole('tab', { name: 'Terminal' }).click();
    await screen('kept-42').waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'nothing hangs over the side');
    await page.emulateMedia({ colorScheme: 'dark' });
    assert.deepEqual(await barriers(page), []);
  });

  it('left the page without a complaint', () => {
    assert.deepEqual(person.complaints, []);
  });
});
