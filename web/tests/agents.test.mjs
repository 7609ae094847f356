// Somebody else's agent (over ACP), watched from a desk, answered from a phone, and through a killed server. It has a server
// of its own, because it kills it. Run by scripts/test-web; the tests build on one another.

import assert from 'node:assert/strict';
import { chmod, copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { start } from './server.mjs';

const ANNA = 'anna@example.com';
const here = dirname(fileURLToPath(import.meta.url));

// The agent that the tests of the server use: it does what its prompt says, and remembers what it was told.
const programs = await mkdtemp(join(tmpdir(), 'reeve-agent-'));
await chmod(programs, 0o755);
await copyFile(join(here, '../../crates/reeve/tests/it/agents/scripted.py'), join(programs, 'scripted'));
await chmod(join(programs, 'scripted'), 0o755);
const house = await start({ agents: `[agent.scripted]\ncommand = ['scripted']\ntitle = 'Scripted'\nmount = '${programs}'\n` });
Object.assign(process.env, { REEVE_URL: house.url, REEVE_DATA: house.data });
const { account, barriers, caller, signIn, visit } = await import('./visit.mjs');

await account(ANNA, 'Anna', 'developer');
const api = await caller(ANNA);
const workspace = (await (await api('POST', '/workspaces', { name: 'desk', template: 'base' })).json()).id;
const desk = await visit();
const phone = await visit({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
let session;

after(async () => {
  await desk.close();
  await phone.close();
  await house.stop();
  await rm(programs, { recursive: true, force: true });
});

const log = ({ page }) => page.getByRole('region', { name: 'Conversation' });
const question = (where) => log(where).getByRole('group', { name: 'The agent asks' });
const made = async () => (await api('GET', `/workspaces/${workspace}/files/content?path=made.txt`)).text();

async function say(where, words) {
  await where.page.getByRole('textbox', { name: 'Prompt' }).fill(words);
  await where.page.getByRole('button', { name: 'Send' }).click();
}

describe('somebody else’s agent', () => {
  it('is begun in the page, works in a workspace, and asks before it changes something', async () => {
    const { page } = desk;
    await desk.go('/sessions');
    await signIn(page, ANNA);
    await page.getByRole('button', { name: 'New session' }).first().click();
    const dialog = page.getByRole('dialog', { name: 'New session' });
    await dialog.getByRole('radio', { name: /^scripted/i }).check({ force: true });
    await dialog.getByLabel('Workspace', { exact: true }).selectOption({ label: 'desk' });
    await dialog.getByLabel('What should it do?').fill('write');
    await dialog.getByRole('button', { name: 'Begin' }).click();
    await page.waitForURL(/#\/sessions\/ses_/);
    session = /ses_\w+/.exec(page.url())[0];
    await log(desk).getByText('Write made.txt').first().waitFor();
    await question(desk).getByRole('button', { name: 'Approve' }).waitFor();
    await assert.rejects(made(), /404/, 'nothing is written before somebody says yes');
    assert.deepEqual(await barriers(page), []);
  });

  it('is answered from a phone, where the change is seen whole', async () => {
    const { page } = phone;
    await phone.go(`/sessions/${session}`);
    await signIn(page, ANNA);
    await phone.go(`/sessions/${session}`);
    const approve = question(phone).getByRole('button', { name: 'Approve' });
    await approve.waitFor();
    const change = log(phone).getByRole('region', { name: 'Proposed change of made.txt' });
    await change.getByText(/made$/).waitFor();
    const { width, height } = await approve.boundingBox();
    assert.ok(width >= 40 && height >= 36, `the button is large enough for a thumb: ${width}×${height}`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'nothing hangs over the side');
    assert.deepEqual(await barriers(page), []);
    await approve.tap();
    await log(phone).getByText('chosen: fine').waitFor();
    await log(desk).getByText('chosen: fine').waitFor();
    assert.equal(await made(), 'made\n');
  });

  it('goes on after the server was killed and started again, in the page that stayed open', async () => {
    await house.kill();
    await desk.page.getByText('Reeve cannot be reached. What you see may be old').waitFor();
    await house.again();
    await desk.page.getByText('Reeve cannot be reached. What you see may be old').waitFor({ state: 'detached' });
    await log(desk).getByText('chosen: fine').waitFor();
    await say(desk, 'recall');
    // It was told `write` before the kill, and is told of its conversation when it is taken up again.
    await log(desk).getByText('3 turns').waitFor();
    await log(phone).getByText('3 turns').waitFor();
    assert.equal(await log(desk).locator('.prompt').count(), 2, 'nothing is told twice');
  });

  it('asks anew what it was asking when the server was killed, and does it once', async () => {
    await say(desk, 'write');
    await question(phone).getByRole('button', { name: 'Approve' }).waitFor();
    await house.kill();
    await house.again();
    // What it asked went with the agent's process; the page says how that turn ended, and the next one asks again.
    await question(phone).waitFor({ state: 'detached' });
    await say(phone, 'write');
    await question(phone).getByRole('button', { name: 'Approve' }).tap();
    await log(phone).getByText('chosen: fine').nth(1).waitFor();
  });

  it('broke no rule of the page’s policy', () => {
    const told = [...desk.complaints, ...phone.complaints].filter((one) => !/ERR_CONNECTION|WebSocket|net::/.test(one));
    assert.deepEqual(told, []);
  });
});
