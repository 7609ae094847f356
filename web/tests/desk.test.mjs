// More of the IDE: files of every kind, what the menus and keys do, large uploads on bad days, and two people on one file. Run
// by scripts/test-web; the tests build on one another.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { account, barriers, caller, savedToDisk, savesToDisk, signIn, visit } from './visit.mjs';

const FAY = 'fay@example.com';
const MB = 1024 * 1024;
/** One red point. */
const PICTURE = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==', 'base64');
const LINES = Array.from({ length: 60 }, (_, index) => `row ${index + 1}\n`).join('');

let person;
let page;
let api;
let id;
let desktop;
let text;
let files;
let saved;

before(async () => {
  await account(FAY, 'Fay', 'developer');
  api = await caller(FAY);
  id = (await (await api('POST', '/workspaces', { name: 'kinds', template: 'python' })).json()).id;
  desktop = await mkdtemp(join(tmpdir(), 'reeve-desk-'));
  person = await visit();
  page = person.page;
  // Asking for a place on the disk opens a window of the system, which nobody answers here: what is saved is downloaded.
  await person.context.addInitScript(() => {
    if (!sessionStorage.getItem('picks')) delete globalThis.showSaveFilePicker;
  });
  text = page.locator('.cm-content').first();
  files = page.getByRole('tree', { name: 'Files' });
  saved = page.locator('footer').getByText('Saved', { exact: true });
});

after(async () => {
  if (id) await api('DELETE', `/workspaces/${id}?force=true`);
  await person?.close();
  if (desktop) await rm(desktop, { recursive: true, force: true });
});

const contentOf = (path) => `/workspaces/${id}/files/content?path=${encodeURIComponent(path)}`;
const put = (path, content) => api('PUT', `${contentOf(path)}&create_parents=true`, typeof content === 'string' ? content : new Uint8Array(content));
const read = async (path) => (await api('GET', contentOf(path))).text();
const row = (name) => files.getByText(name, { exact: true });
const item = (name) => page.getByRole('menuitem').filter({ hasText: name });
const chosen = (name) => page.getByRole('tab', { name, selected: true }).waitFor();

async function open(name) {
  await row(name).click();
  await chosen(name);
}

async function menuOf(name) {
  await row(name).click({ button: 'right' });
  await page.getByRole('menu').waitFor();
}

describe('files that are no text', () => {
  it('are told, shown or offered, and never damaged', async () => {
    await put('bytes.bin', Buffer.from([0, 1, 2, 255, 0]));
    await put('point.png', PICTURE);
    await put('large.log', Buffer.alloc(10 * MB + 1, 'x'));
    await put('rows.txt', LINES);
    await person.go(`/workspaces/${id}`);
    await signIn(page, FAY);
    await open('bytes.bin');
    await page.getByText('bytes.bin is no text').waitFor();
    assert.equal(await text.count(), 0, 'there is nothing to type into');
    await open('point.png');
    await page.waitForFunction(() => document.querySelector('img[alt="point.png"]')?.naturalWidth === 1);
    assert.deepEqual(await barriers(page), []);
    await open('large.log');
    await page.getByText('large.log is too large for the editor').waitFor();
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download', exact: true }).click()]);
    assert.equal((await stat(await download.path())).size, 10 * MB + 1);
    assert.deepEqual(await barriers(page), []);
  });
});

describe('the keys of an editor', () => {
  it('go to a file and a line', async () => {
    await page.keyboard.press('ControlOrMeta+p');
    const field = page.getByRole('combobox', { name: /file/i });
    await field.fill('rows:42');
    await page.getByRole('option', { name: /rows\.txt/ }).first().waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.keyboard.press('Enter');
    await chosen('rows.txt');
    await page.getByText('Ln 42, Col 1').waitFor();
    await page.keyboard.press('ControlOrMeta+g');
    await page.locator('.cm-goto-line input').fill('7');
    await page.keyboard.press('Enter');
    await page.getByText('Ln 7, Col 1').waitFor();
  });

  it('find, and replace', async () => {
    await page.keyboard.press('ControlOrMeta+f');
    const panel = page.locator('.cm-search');
    await panel.locator('input[name=search]').pressSequentially('row 1');
    await page.keyboard.press('Enter');
    await page.locator('.cm-searchMatch-selected').waitFor();
    await page.keyboard.press('Escape');
    await panel.waitFor({ state: 'detached' });
    await page.keyboard.press('ControlOrMeta+h');
    await page.waitForFunction(() => document.activeElement?.getAttribute('name') === 'replace');
    await panel.locator('input[name=search]').fill('row 60');
    await panel.locator('input[name=replace]').fill('the last row');
    assert.deepEqual(await barriers(page), []);
    await panel.locator('[name=replaceAll]').click();
    await page.keyboard.press('Escape');
    await page.keyboard.press('ControlOrMeta+s');
    await saved.waitFor();
    assert.equal(await read('rows.txt'), LINES.replace('row 60', 'the last row'));
  });

  it('have a cursor more where Alt and a click put it', async () => {
    await page.keyboard.press('ControlOrMeta+Home');
    await text.getByText('row 1', { exact: true }).click();
    await page.keyboard.press('Home');
    await text.getByText('row 3', { exact: true }).click({ modifiers: ['Alt'], position: { x: 1, y: 5 } });
    await page.keyboard.type('a ');
    await page.keyboard.press('ControlOrMeta+s');
    await page.keyboard.press('Escape');
    await saved.waitFor();
    const now = await read('rows.txt');
    assert.ok(now.startsWith('a row 1\nrow 2\na row 3\n'), now.slice(0, 40));
  });

  it('lead from problem to problem, through files', async () => {
    await put('first.py', 'import second\n');
    await put('second.py', 'def f():\n    return 1 / 0\n\nf()\n');
    await row('second.py').waitFor();
    await put('report.py', 'import sys\nprint("first.py:1:1: error: one", "second.py:2:5: error: two", sep="\\n")\n');
    await open('report.py');
    await text.waitFor();
    await page.keyboard.press('F5');
    await page.getByRole('tab', { name: 'Problems 2' }).waitFor();
    await text.click();
    await page.keyboard.press('F8');
    await chosen('second.py');
    await page.getByText('Ln 2, Col 5').waitFor();
    await page.keyboard.press('F8');
    await chosen('first.py');
    await page.keyboard.press('Shift+F8');
    await chosen('second.py');
  });
});

describe('the menus of the explorer', () => {
  it('are there for the pointer and the keyboard, and pack a directory', async () => {
    await put('packed/one.txt', 'one\n');
    await put('packed/two.txt', 'two\n');
    await row('packed').waitFor();
    await menuOf('packed');
    assert.deepEqual(await barriers(page), []);
    await item('Copy path').waitFor();
    const [download] = await Promise.all([page.waitForEvent('download'), item('Download as tar.gz').click()]);
    assert.equal(download.suggestedFilename(), 'packed.tar.gz');
    const bytes = await readFile(await download.path());
    assert.deepEqual([...bytes.subarray(0, 2)], [0x1f, 0x8b], 'it is a gzip');
    await api('POST', `/workspaces/${id}/files/operations`, { op: 'trash', path: 'packed' });
    await row('packed').waitFor({ state: 'detached' });
    await put('copy.tar.gz', bytes);
    await row('copy.tar.gz').waitFor();
    await files.focus();
    await page.keyboard.press('Home');
    await page.keyboard.type('copy');
    await page.keyboard.press('Shift+F10');
    await item('Unpack here').waitFor();
    await item('Unpack here').click();
    await page.getByText('copy.tar.gz is unpacked: 2 files.').waitFor();
    assert.equal(await read('packed/two.txt'), 'two\n');
    await menuOf('copy.tar.gz');
    await item('Unpack here').click();
    await page.getByText('That could not be done.').first().waitFor();
    assert.equal(await read('packed/two.txt'), 'two\n', 'what is there is not replaced');
  });

  it('write straight to the disk where the browser can', async () => {
    await page.evaluate(() => sessionStorage.setItem('picks', 'yes'));
    await page.reload();
    await row('packed').waitFor();
    await savesToDisk(page);
    await menuOf('packed');
    await item('Download as zip').click();
    assert.equal((await savedToDisk(page, 'packed.zip')).subarray(0, 2).toString(), 'PK');
    await page.evaluate(() => sessionStorage.removeItem('picks'));
    await page.reload();
    await row('packed').waitFor();
  });

  it('bring back from the trash, and empty it', async () => {
    await menuOf('copy.tar.gz');
    await item('Move to trash').click();
    await row('copy.tar.gz').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Trash', exact: true }).click();
    const trash = page.getByRole('region', { name: 'trash' });
    await trash.getByText('copy.tar.gz').waitFor();
    assert.deepEqual(await barriers(page), []);
    await trash.getByRole('button', { name: 'Restore copy.tar.gz' }).click();
    await trash.getByText('copy.tar.gz').waitFor({ state: 'detached' });
    assert.ok((await read('copy.tar.gz')).length > 0);
    await trash.getByText('packed', { exact: true }).waitFor();
    await trash.getByRole('button', { name: 'Empty' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Empty the trash' }).click();
    await trash.getByText('The trash is empty.').waitFor();
    await page.getByRole('button', { name: 'Explorer', exact: true }).click();
    await row('copy.tar.gz').waitFor();
  });
});

describe('what a file was before', () => {
  it('is in its history, compared with what it is, and restored', async () => {
    await put('story.txt', 'the first\nends well\n');
    await put('story.txt', 'the second\nends well\n');
    await row('story.txt').waitFor();
    await open('story.txt');
    await text.getByText('the second').waitFor();
    await menuOf('story.txt');
    await item('History').click();
    const history = page.getByRole('region', { name: 'history' });
    await history.getByText('History of story.txt').waitFor();
    assert.equal(await history.locator('.entry').count(), 1);
    assert.deepEqual(await barriers(page), []);
    await text.click();
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.type('not saved yet');
    await history.locator('.entry').last().click();
    const dialog = page.getByRole('dialog');
    for (const line of ['the second', 'not saved yet']) await dialog.locator('.removed').getByText(line).waitFor();
    await dialog.locator('.added').getByText('the first').waitFor();
    assert.deepEqual(await barriers(page), []);
    await dialog.getByRole('button', { name: 'Restore this version' }).click();
    await dialog.waitFor({ state: 'detached' });
    await text.getByText('the first').waitFor();
    assert.equal(await read('story.txt'), 'the first\nends well\n');
    await saved.waitFor();
    await history.locator('.entry').first().click();
    await dialog.locator('.added').getByText('not saved yet').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).last().click();
    await history.getByRole('button', { name: 'Forget' }).click();
    await dialog.getByRole('button', { name: 'Forget', exact: true }).click();
    await history.getByText('Nothing yet.').waitFor();
    assert.equal(await read('story.txt'), 'the first\nends well\n');
    await page.getByRole('button', { name: 'Explorer', exact: true }).click();
    await row('story.txt').waitFor();
  });
});

describe('replacing in files', () => {
  it('shows each line as it is and as it would be, and replaces in one file or in all', async () => {
    await put('swap/one.txt', 'key = value\nother\n');
    await put('swap/two.txt', 'left = right\nup = down\n');
    await page.keyboard.press('ControlOrMeta+Shift+F');
    const search = page.getByRole('region', { name: 'search' });
    await search.getByRole('button', { name: 'Replace', exact: true }).click();
    await search.getByRole('button', { name: 'Regular expression (.*)' }).click();
    await search.getByRole('button', { name: 'More choices' }).click();
    await search.getByLabel('Only in').fill('swap/**');
    await search.getByLabel('Search in files').fill('(\\w+) = (?P<what>\\w+)');
    await search.getByLabel('Replace with').fill('${what} = $1');
    await search.locator('ins').getByText('value = key').waitFor();
    await search.locator('del').getByText('up = down').waitFor();
    await search.getByText('3 in 2 files').waitFor();
    assert.deepEqual(await barriers(page), []);
    assert.equal(await read('swap/one.txt'), 'key = value\nother\n', 'nothing is written yet');
    await search.getByRole('button', { name: 'Replace in one.txt' }).click();
    await page.getByText('1 match is replaced.').waitFor();
    assert.equal(await read('swap/one.txt'), 'value = key\nother\n');
    await search.getByLabel('Only in').fill('swap/two.txt');
    await search.getByText('2 in 1 file').waitFor();
    await search.getByRole('button', { name: 'Replace all' }).click();
    await page.getByText('2 matches are replaced.').waitFor();
    assert.equal(await read('swap/two.txt'), 'right = left\ndown = up\n');
    await search.getByLabel('Replace with').fill('$7');
    await search.getByText('the expression has no group').waitFor();
    await search.getByRole('button', { name: 'Replace', exact: true }).click();
    await page.getByRole('button', { name: 'Explorer', exact: true }).click();
    await row('story.txt').waitFor();
  });
});

describe('running the project', () => {
  it('is what Run does where the file in front is no program', async () => {
    await put('app.py', 'print("the whole project")\n');
    await put('README.md', '# Read me\n');
    await row('README.md').waitFor();
    await open('README.md');
    await page.getByRole('button', { name: 'Run this file' }).click();
    const output = page.getByRole('log', { name: 'Output' });
    await output.getByText('the whole project').waitFor();
    await page.getByText('Finished').waitFor();
    await open('first.py');
    await page.getByRole('button', { name: 'More for this file' }).click();
    await page.getByRole('menuitem', { name: /^Run the project/ }).click();
    await output.getByText('the whole project').waitFor();
  });

  it('is its crate, with a file of Rust in front', async () => {
    await put('crate/Cargo.toml', '[package]\nname = "tried"\nversion = "0.1.0"\nedition = "2021"\n');
    await put('crate/src/main.rs', 'mod part;\nfn main() { println!("{}", part::WORDS); }\n');
    await put('crate/src/part.rs', 'pub const WORDS: &str = "from a module";\n');
    await person.go(`/workspaces/${id}?file=${encodeURIComponent('crate/src/part.rs')}`);
    await chosen('part.rs');
    await page.getByRole('button', { name: 'Run this file' }).click();
    await page.getByText('cargo run in crate').waitFor();
    // Where the workspace has no cargo it says so; where it has one, the program of several files runs.
    await page.getByRole('log', { name: 'Output' }).getByText('from a module').or(page.getByRole('alert').filter({ hasText: 'cargo' })).or(page.getByRole('log', { name: 'Output' }).getByText(/cargo.*not found|could not find|error/i)).first().waitFor();
  });
});

describe('a conflict with what is no text any more', () => {
  it('says so, and never shows an empty other side', async () => {
    await put('mixed.txt', 'text\n');
    await row('mixed.txt').waitFor();
    await open('mixed.txt');
    await text.click();
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('mine\n');
    await put('mixed.txt', Buffer.from([0, 1, 2, 3]));
    await page.getByText('was changed by somebody else').first().waitFor();
    const compare = page.getByRole('button', { name: 'Compare', exact: true });
    const told = page.getByText('What is on disk is no text now');
    await compare.or(told).first().waitFor();
    if (await compare.isVisible()) await compare.click().catch(() => undefined);
    await told.waitFor();
    assert.equal(await page.locator('.cm-mergeView').count(), 0);
    assert.equal(await page.getByRole('button', { name: 'Save merged' }).count(), 0);
    assert.deepEqual(await barriers(page), []);
    await page.getByRole('button', { name: 'Take theirs' }).click();
    await page.getByText('mixed.txt is no text').waitFor();
    assert.equal((await api('GET', contentOf('mixed.txt')).then((answer) => answer.arrayBuffer())).byteLength, 4);
  });
});

describe('a large upload', () => {
  const picker = () => page.locator('input[type=file]');

  it('goes on after the page was loaded again, where it had stopped', async () => {
    const large = join(desktop, 'film.bin');
    await writeFile(large, Buffer.alloc(24 * MB, 3));
    await utimes(large, new Date(2024, 1, 1), new Date(2024, 1, 1));
    // What comes after the second piece does not arrive until the page is gone.
    await page.route('**/files/uploads/*', async (route) => {
      const { method, headers } = { method: route.request().method(), headers: route.request().headers() };
      if (method === 'PATCH' && Number(headers['upload-offset']) >= 8 * MB) return;
      await route.continue();
    });
    await picker().setInputFiles(large);
    await page.waitForFunction((most) => (document.querySelector('.uploads progress')?.value ?? 0) >= most, 8 * MB);
    await page.reload();
    await page.unroute('**/files/uploads/*');
    await row('rows.txt').waitFor();
    const sent = [];
    page.on('request', (request) => {
      if (request.method() === 'PATCH' && request.url().includes('/files/uploads/')) sent.push(Number(request.headers()['upload-offset']));
    });
    await picker().setInputFiles(large);
    await page.getByText('film.bin has been uploaded.').waitFor();
    assert.deepEqual(sent, [8, 12, 16, 20].map((offset) => offset * MB));
    assert.equal((await (await api('GET', `/workspaces/${id}/files/stat?path=film.bin`)).json()).size, 24 * MB);
    assert.equal(await page.evaluate(() => localStorage.getItem('reeve-uploads')), '[]');
  });

  it('outlasts a lost connection', async () => {
    const large = join(desktop, 'sound.bin');
    await writeFile(large, Buffer.alloc(12 * MB, 5));
    let lost = 0;
    const given = [];
    await page.route('**/files/uploads/*', async (route) => {
      if (route.request().method() === 'DELETE') given.push('up');
      if (route.request().method() === 'PATCH' && route.request().headers()['upload-offset'] !== '0' && lost++ < 2) return route.abort('connectionreset');
      await route.continue();
    });
    await picker().setInputFiles(large);
    await page.getByText('sound.bin has been uploaded.').waitFor();
    await page.unroute('**/files/uploads/*');
    assert.ok(lost > 2 && given.length === 0, 'it was gone on with, not given up');
  });
});

describe('on a small screen', () => {
  it('has room for an editor between files and panel', async () => {
    await page.setViewportSize({ width: 1024, height: 768 });
    await open('rows.txt');
    await text.waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'nothing hangs over the side');
    assert.deepEqual(await barriers(page), []);
    await page.setViewportSize({ width: 1440, height: 900 });
  });
});

describe('two people on one file', () => {
  let other;

  after(async () => other?.close());

  it('see what the other saved, and overwrite nothing', async () => {
    await put('shared.txt', 'begun\n');
    await row('shared.txt').waitFor();
    await open('shared.txt');
    other = await visit();
    await other.go(`/workspaces/${id}?file=shared.txt`);
    await signIn(other.page, FAY);
    const theirs = other.page.locator('.cm-content').first();
    await theirs.getByText('begun').waitFor();
    await text.click();
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('from the first\n');
    await page.keyboard.press('ControlOrMeta+s');
    await theirs.getByText('from the first').waitFor();

    // The second one types while the first one's save is not heard of.
    await other.context.setOffline(true);
    await theirs.click();
    await other.page.keyboard.press('ControlOrMeta+End');
    await other.page.keyboard.insertText('from the second\n');
    await text.click();
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('from the first again\n');
    await page.keyboard.press('ControlOrMeta+s');
    await saved.waitFor();
    await other.context.setOffline(false);
    await other.page.getByText('was changed by somebody else').first().waitFor();
    assert.equal(await read('shared.txt'), 'begun\nfrom the first\nfrom the first again\n');
    const compare = other.page.getByRole('button', { name: 'Compare', exact: true });
    const disk = other.page.getByLabel('On disk');
    await compare.or(disk).first().waitFor();
    if (await compare.isVisible()) await compare.click().catch(() => undefined);
    await disk.getByText('from the first again').waitFor();
    await other.page.getByRole('button', { name: 'Keep mine' }).click();
    await text.getByText('from the second').waitFor();
    assert.equal(await read('shared.txt'), 'begun\nfrom the first\nfrom the second\n');
  });

  it('left no complaint', () => {
    assert.deepEqual(person.complaints, []);
    assert.deepEqual(other.complaints, []);
  });
});
