// Corners of the IDE: programs that take the whole screen of a terminal, files with unusual names and line ends, and a
// directory of a hundred thousand files. Run by scripts/test-web.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { account, barriers, caller, signIn, visit } from './visit.mjs';

const GUS = 'gus@example.com';
const FILES = 100_000;

let person;
let page;
let api;
let id;
let files;
let text;

before(async () => {
  await account(GUS, 'Gus', 'developer');
  api = await caller(GUS);
  id = (await (await api('POST', '/workspaces', { name: 'corners', template: 'base' })).json()).id;
  person = await visit();
  page = person.page;
  files = page.getByRole('tree', { name: 'Files' });
  text = page.locator('.cm-content').first();
});

after(async () => {
  if (id) await api('DELETE', `/workspaces/${id}?force=true`);
  await person?.close();
});

const row = (name) => files.getByText(name, { exact: true });
const shell = async (line) => (await api('POST', `/workspaces/${id}/executions`, { argv: ['sh', '-c', line], timeout_ms: 120_000 })).json();
const rows = () => page.locator('.screen.shown .xterm-rows').first();
const base64 = (bytes) => encodeURIComponent(Buffer.from(bytes).toString('base64'));

async function type(command) {
  await page.locator('.screen.shown .xterm').first().click();
  await page.keyboard.type(`${command}\n`);
}

describe('a terminal', () => {
  it('shows 256 colours and wide characters in their cells', async () => {
    await person.go(`/workspaces/${id}`);
    await signIn(page, GUS);
    // The room listens to keys once it is there.
    await files.waitFor();
    await page.keyboard.press('ControlOrMeta+`');
    await page.locator('.lamp.open').first().waitFor();
    await type("clear; printf '\\033[38;5;208mcoloured\\033[0m 漢字かな|\\n'; printf '%s\\n' '0123456789012345678|'");
    // Looked for and measured in one go: the terminal makes its lines anew whenever something is written.
    const coloured = await page.waitForFunction(() => {
      const spans = [...document.querySelectorAll('.screen.shown .xterm-rows span')];
      const span = spans.find((one) => one.textContent === 'coloured');
      return span && getComputedStyle(span).color.match(/\d+/g)?.map(Number);
    });
    // Colour 208 is rgb(255, 135, 0), made darker or lighter until it can be read on its ground.
    const [red, green, blue] = await coloured.jsonValue();
    assert.ok(blue === 0 && Math.abs(red / green - 255 / 135) < 0.1, `${red} ${green} ${blue} is orange`);
    // Each of the four takes two cells: 8 + 1 + 4 × 2 + 1 are 18, where the line below has 20 narrow ones.
    await rows().getByText('0123456789012345678|').last().waitFor();
    const widths = await page.evaluate(() => {
      const lines = [...document.querySelectorAll('.screen.shown .xterm-rows > div')];
      const width = (begin) => {
        const line = lines.find((one) => one.textContent.startsWith(begin));
        return Math.max(...[...line.children].map((span) => span.getBoundingClientRect().right)) - line.getBoundingClientRect().left;
      };
      return [width('coloured 漢字かな|'), width('0123456789012345678|')];
    });
    const cell = widths[1] / 20;
    assert.ok(Math.abs(widths[0] - 18 * cell) < cell / 2, `${widths[0]} px are 18 cells of ${cell}`);
  });

  it('gives its whole screen to a program, and takes it back', async () => {
    const { exit_code: there } = await shell('command -v vim');
    if (there !== 0) return;
    await type("clear; echo be''fore; vim -u NONE -N -c 'set nomore encoding=utf-8 | hi Normal ctermfg=213' note.txt");
    await rows().getByText('~').first().waitFor();
    assert.equal(await rows().getByText('before', { exact: true }).count(), 0, 'the other screen is away');
    await page.keyboard.type('i');
    await page.keyboard.insertText('first 漢字🦀');
    await rows().getByText('漢字').first().waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.type(':wq\n');
    await rows().getByText('before', { exact: true }).first().waitFor();
    assert.equal(await (await api('GET', `/workspaces/${id}/files/content?path=note.txt`)).text(), 'first 漢字🦀\n');
  });
});

describe('an unusual file', () => {
  it('whose name is no text is opened, edited and saved under that name', async () => {
    const name = Buffer.from([0x67, 0x72, 0xfc, 0xdf, 0x65, 0x2e, 0x74, 0x78, 0x74]);
    await api('PUT', `/workspaces/${id}/files/content?path_b64=${base64(name)}`, 'begun\n');
    const shown = files.getByText(/^gr.*e\.txt$/);
    await shown.waitFor();
    await shown.click();
    await text.getByText('begun').waitFor();
    await text.click();
    await page.keyboard.press('ControlOrMeta+End');
    await page.keyboard.insertText('and ended\n');
    await page.keyboard.press('ControlOrMeta+s');
    await page.locator('footer').getByText('Saved', { exact: true }).waitFor();
    assert.equal(await (await api('GET', `/workspaces/${id}/files/content?path_b64=${base64(name)}`)).text(), 'begun\nand ended\n');
    assert.deepEqual(await barriers(page), []);
  });

  it('with line ends of several kinds keeps each of them', async () => {
    await api('PUT', `/workspaces/${id}/files/content?path=mixed.txt`, 'one\r\ntwo\nthree\rfour');
    await row('mixed.txt').click();
    await page.getByRole('tab', { name: 'mixed.txt', selected: true }).waitFor();
    await text.getByText('one').waitFor();
    await text.click();
    await page.keyboard.press('ControlOrMeta+Home');
    await page.keyboard.insertText('zero ');
    await page.keyboard.press('ControlOrMeta+s');
    await page.locator('footer').getByText('Saved', { exact: true }).waitFor();
    assert.equal(await (await api('GET', `/workspaces/${id}/files/content?path=mixed.txt`)).text(), 'zero one\r\ntwo\nthree\rfour');
  });
});

describe('a directory of a hundred thousand files', () => {
  it('opens at once, shows more when it is asked, and is searched', async () => {
    const made = await shell(`mkdir many && cd many && seq -f 'file-%06.0f' ${FILES} | xargs touch`);
    assert.equal(made.exit_code, 0);
    await row('many').click();
    await row('file-000001').waitFor();
    assert.ok((await files.getByRole('treeitem').count()) < 300, 'only what is seen is drawn');
    const last = () => page.evaluate(() => {
      const list = document.querySelector('[role=tree][aria-label=Files]');
      list.scrollTop = list.scrollHeight;
    });
    await last();
    await row('Show more').waitFor();
    const before = await files.evaluate((list) => list.scrollHeight);
    await row('Show more').click();
    await page.waitForFunction((height) => document.querySelector('[role=tree][aria-label=Files]').scrollHeight > height, before);
    await page.keyboard.press('ControlOrMeta+p');
    await page.keyboard.type('file-077777');
    await page.getByRole('option', { name: /file-077777/ }).first().click();
    await page.getByRole('tab', { name: 'file-077777', selected: true }).waitFor();
    assert.deepEqual(await barriers(page), []);
  });

  it('left no complaint', () => {
    assert.deepEqual(person.complaints, []);
  });
});
