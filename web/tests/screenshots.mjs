// Makes the screenshots of docs/screenshots anew, from a real server with real workspaces: node web/tests/screenshots.mjs
// With a directory it leaves them there, every scene in each size and in both themes, to be looked through. `--sessions`
// makes only those of sessions.

import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FILES, WORKSPACES } from './scene.mjs';
import { takeSessions } from './screenshots-sessions.mjs';
import { start } from './server.mjs';

const only = process.argv.includes('--sessions') ? 'sessions' : '';
const asked = process.argv.slice(2).find((word) => !word.startsWith('--'));
const into = asked ?? join(dirname(fileURLToPath(import.meta.url)), '../../docs/screenshots');
/** What is kept in docs/: the rest is there to be looked at while the page is worked on. */
const KEPT = /-1440-light|^(ide|workspaces|approvals|audit|sessions)-1440-dark|^(ide|workspaces|sessions)-1024-light|-390-light|^(ide|sessions-answer)-390-dark/;
const wanted = (name) => name.startsWith(only) && (asked !== undefined || KEPT.test(name));
const SIZES = [[1440, 900], [1024, 768], [390, 844]];
const ADA = 'ada@example.org';
const DORA = 'dora@example.org';

const stage = process.env.REEVE_URL ? null : await start({ more: { almanac: 'sow' } });
if (stage) Object.assign(process.env, { REEVE_URL: stage.url, REEVE_DATA: stage.data });
const { account, caller, signIn, visit } = await import('./visit.mjs');

mkdirSync(into, { recursive: true });
for (const name of readdirSync(into)) if (name.endsWith('.png') && name.startsWith(only)) rmSync(join(into, name));

let person;
try {
  await account(ADA, 'Ada Lind', 'admin');
  await account(DORA, 'Dora Berg', 'developer');
  person = await visit({ reducedMotion: 'reduce' });
  await takeAll(person.page, await caller(ADA), await caller(DORA));
} finally {
  await person?.close();
  await stage?.stop();
}
const bytes = readdirSync(into).reduce((sum, name) => sum + statSync(join(into, name)).size, 0);
console.log(`${readdirSync(into).length} screenshots, ${(bytes / 1e6).toFixed(2)} MB, in ${into}`);

async function takeAll(page, ada, dora) {
  /** Takes the page as it is; `settle` puts right what a size changes. */
  async function take(name, settle = {}) {
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height });
      await settle[width]?.();
      for (const theme of ['light', 'dark']) {
        if (!wanted(`${name}-${width}-${theme}`)) continue;
        await page.emulateMedia({ colorScheme: theme });
        await settled(page);
        await page.screenshot({ path: join(into, `${name}-${width}-${theme}.png`) });
      }
    }
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.emulateMedia({ colorScheme: 'light' });
  }

  await person.go('/workspaces');
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  await take('sign-in');
  await signIn(page, ADA);

  const made = {};
  for (const wanted of WORKSPACES) {
    const who = wanted.tags.includes('kept') || wanted.name === 'label-printer' ? dora : ada;
    made[wanted.name] = (await (await who('POST', '/workspaces', wanted)).json()).id;
  }
  const home = made['seed-catalogue'];
  for (const [path, content] of Object.entries(FILES)) {
    await ada('PUT', `/workspaces/${home}/files/content?path=${path}&create_parents=true`, content);
  }
  await takeSessions({ person, take, api: ada, workspace: home });
  if (only) return;
  await ada('POST', `/workspaces/${home}/snapshots`, { name: 'before the new sorts' });
  await ada('POST', `/workspaces/${made['harvest-figures']}/suspend`, {});
  await dora('DELETE', `/workspaces/${made['ledger']}`);

  // The IDE: a program that runs, its preview, and a terminal.
  await person.go(`/workspaces/${home}`);
  const files = page.getByRole('tree', { name: 'Files' });
  const text = page.locator('.cm-content').first();
  await files.getByText('data', { exact: true }).click();
  await files.getByText('tests', { exact: true }).click();
  await files.getByText('test_app.py').click();
  await files.getByText('app.py', { exact: true }).click();
  await page.getByRole('tab', { name: 'app.py', exact: true, selected: true }).waitFor();
  await text.getByText('Catalogue').first().waitFor();
  await page.getByRole('button', { name: 'Run this file' }).click();
  await page.getByRole('log', { name: 'Output' }).getByText('The catalogue is at port 8000').waitFor();
  await page.getByRole('button', { name: 'Preview', exact: true }).first().click();
  await page.getByRole('button', { name: /Port 8000/ }).click();
  await page.frameLocator('iframe').getByText('Black Krim').waitFor();
  await page.keyboard.press('ControlOrMeta+`');
  await page.locator('.lamp.open').first().waitFor();
  await page.locator('.screen.shown .xterm').first().click();
  await page.keyboard.type('python3 -m unittest -v tests.test_app\n');
  await page.locator('.xterm-rows').getByText(/^OK/).waitFor();
  const phone = (pane) => page.getByRole('navigation', { name: 'Panes' }).getByRole('button', { name: pane, exact: true }).click();
  await take('ide', { 390: () => phone('Editor') });
  await page.setViewportSize({ width: 390, height: 844 });
  for (const pane of ['Files', 'Terminal', 'Preview']) {
    await phone(pane);
    await settled(page);
    await page.screenshot({ path: join(into, `ide-${pane.toLowerCase()}-390-light.png`) });
  }
  await phone('Editor');
  await page.setViewportSize({ width: 1440, height: 900 });

  // Search beside two editors, and the palette over them.
  await page.getByRole('button', { name: 'Close the preview' }).click();
  await page.getByRole('tab', { name: 'app.py', exact: true }).click();
  await page.keyboard.press('ControlOrMeta+\\');
  await page.getByRole('region', { name: 'Second editor' }).locator('.cm-content').waitFor();
  await page.getByRole('region', { name: 'Second editor' }).locator('.cm-content').click();
  await page.keyboard.press('ControlOrMeta+p');
  await page.getByRole('combobox', { name: 'Name of a file' }).fill('test_app');
  await page.getByRole('option').first().waitFor();
  await page.keyboard.press('Enter');
  await page.getByRole('region', { name: 'Second editor' }).getByText('TheCatalogue').waitFor();
  await page.keyboard.press('ControlOrMeta+Shift+F');
  await page.getByLabel('Search in files').fill('seed');
  await page.locator('.hit').first().waitFor();
  await take('ide-search', { 390: () => phone('Files') });
  await page.keyboard.press('ControlOrMeta+Shift+P');
  await page.getByRole('combobox', { name: 'Search commands' }).fill('te');
  await take('palette');
  await page.keyboard.press('Escape');

  // Two people, one file.
  await page.keyboard.press('ControlOrMeta+1');
  await text.getByText('Catalogue').first().waitFor();
  await page.keyboard.press('ControlOrMeta+w');
  await page.getByRole('region', { name: 'Editor', exact: true }).getByText('TheCatalogue').waitFor();
  await page.keyboard.press('ControlOrMeta+Shift+E');
  await files.getByText('README.md').click();
  const readme = page.getByLabel('Text of README.md');
  await readme.first().click();
  await page.keyboard.press('ControlOrMeta+End');
  await page.keyboard.insertText('\nNew sorts go into the file with their weight in grams.\n');
  const theirs = FILES['README.md'].replace('The sorts are in', 'All sorts are listed in');
  await ada('PUT', `/workspaces/${home}/files/content?path=README.md`, theirs);
  const compare = page.getByRole('button', { name: 'Compare', exact: true });
  const disk = page.getByLabel('On disk').first();
  await compare.or(disk).first().waitFor();
  if (await compare.isVisible()) await compare.click().catch(() => undefined);
  await disk.getByText('All sorts are listed').waitFor();
  await take('conflict', { 390: () => phone('Editor') });
  await page.getByRole('button', { name: 'Take theirs' }).first().click();

  await person.go(`/workspaces?id=${home}`);
  await page.getByRole('complementary', { name: 'Details of seed-catalogue' }).getByText('before the new sorts').waitFor();
  await take('workspaces', { 390: () => person.go('/workspaces') });
  // As the first link of an installation opens it.
  await person.go('/workspaces?new=python');
  const making = page.getByRole('dialog', { name: 'New workspace' });
  await making.getByRole('radio', { name: /^Python/ }).waitFor({ state: 'attached' });
  await take('new-workspace');
  await making.getByLabel('Name', { exact: true }).fill('spring-fair');
  await making.getByRole('button', { name: /^Limits, network and isolation/ }).click();
  await making.getByRole('radio', { name: /^Named hosts/ }).check();
  await making.getByRole('textbox', { name: 'Hosts' }).fill('pypi.org, files.pythonhosted.org');
  await take('new-workspace-terms');
  await page.keyboard.press('Escape');

  await person.go('/approvals');
  await page.locator('#approval-list [data-id]').first().click();
  await page.getByRole('region', { name: 'Question' }).getByText('What will happen').waitFor();
  await page.getByLabel('Reason', { exact: true }).fill('The accounts moved to the association’s server on Friday.');
  await take('approvals');
  await page.getByRole('button', { name: 'Approve' }).click();
  await page.getByText(/^Approved/).first().waitFor();

  await person.go('/audit');
  await page.getByText('Nothing was changed.').waitFor();
  await page.locator('#audit-list [data-id]').filter({ hasText: 'Delete workspace' }).first().click();
  await page.getByRole('complementary', { name: 'Journey' }).getByRole('listitem').first().waitFor();
  await take('audit');
  await person.go('/audit?view=records');
  await page.locator('#audit-list [data-id]').first().click();
  await page.getByRole('complementary', { name: 'Record' }).getByRole('button', { name: 'Download proof' }).waitFor();
  await take('record');
  await person.go('/workspaces');
  await page.getByRole('heading', { name: 'Workspaces', level: 1 }).waitFor();
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  await take('keys');
}

/** What fades and what is drawn frame by frame has come to rest. */
async function settled(page) {
  await page.evaluate(async () => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    for (let count = 0; count < 4; count++) await frame();
    await Promise.all(document.getAnimations().filter((one) => one.effect?.getComputedTiming().endTime !== Infinity).map((one) => one.finished.catch(() => undefined)));
  });
}
