// A server without a model: the IDE is all there, and whoever asks for an answer is told what is missing. Run by
// scripts/test-web; this file has a server of its own.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { start } from './server.mjs';

const PIA = 'pia@example.com';

let own;
let person;
let page;
let api;
let id;
let people;

before(async () => {
  own = await start({ thinks: false });
  process.env.REEVE_URL = own.url;
  process.env.REEVE_DATA = own.data;
  people = await import('./visit.mjs');
  await people.account(PIA, 'Pia', 'developer');
  api = await people.caller(PIA);
  id = (await (await api('POST', '/workspaces', { name: 'plain', template: 'python' })).json()).id;
  person = await people.visit();
  page = person.page;
});

after(async () => {
  await person?.close();
  await own?.stop();
});

describe('the page as an app of its own', () => {
  it('can be installed', async () => {
    await page.goto(own.url);
    const manifest = await (await fetch(`${own.url}/manifest.webmanifest`)).json();
    for (const { src, type } of manifest.icons) {
      const icon = await fetch(own.url + src);
      assert.deepEqual([icon.status, icon.headers.get('content-type')], [200, type], src);
    }
    const session = await page.context().newCDPSession(page);
    const told = await session.send('Page.getAppManifest');
    assert.deepEqual([told.errors, new URL(told.url).pathname], [[], '/manifest.webmanifest']);
    const errors = async () => (await session.send('Page.getInstallabilityErrors')).installabilityErrors.map(({ errorId }) => errorId);
    assert.deepEqual(await errors(), []);
    // What Chromium says of a page that cannot be.
    await page.evaluate(() => document.querySelector('link[rel=manifest]').remove());
    assert.notDeepEqual(await errors(), []);
  });
});

describe('without a model', () => {
  it('files are edited, saved and run', async () => {
    await person.go(`/workspaces/${id}?file=app.py`);
    await people.signIn(page, PIA);
    const text = page.locator('.cm-content').first();
    await text.click();
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.insertText('print("run without a model")\n');
    await page.keyboard.press('ControlOrMeta+s');
    await page.locator('footer').getByText('Saved', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Run this file' }).click();
    await page.getByRole('log', { name: 'Output' }).getByText('run without a model').waitFor();
    await page.getByText('Finished').waitFor();
  });

  it('the chat says that there is none, and has no barrier', async () => {
    await page.getByRole('button', { name: 'Chat', exact: true }).click();
    await page.getByRole('region', { name: 'Chat' }).getByRole('button', { name: 'New session' }).first().click();
    const dialog = page.getByRole('dialog');
    await dialog.locator('summary').filter({ hasText: 'cannot be used now' }).click();
    await dialog.getByText('no model is configured, and this agent cannot work').first().waitFor();
    assert.deepEqual(await people.barriers(page), []);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
  });

  it('the guide’s paths answer with a problem that has a code', async () => {
    const login = await fetch(`${own.url}/api/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ email: PIA, password: people.PASSWORD }),
    });
    const { access_token } = await login.json();
    const answer = await fetch(`${own.url}/api/ide/chat/send`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${access_token}` },
      body: JSON.stringify({ session_id: id, message: 'hello', history: [] }),
    });
    assert.deepEqual([answer.status, (await answer.json()).code], [503, 'no_model']);
  });

  it('left no complaint', () => {
    assert.deepEqual(person.complaints, []);
  });
});
