// Sessions with agents, used as a person uses them: in the room, beside an editor, on a phone, and from a second browser.
// The models answer from scripts (tests/models). Run by scripts/test-web; the tests build on one another.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { FILES } from './scene.mjs';
import { account, barriers, caller, signIn, visit } from './visit.mjs';

const SELMA = 'selma@example.com';
const ADDED = 'def counted(sorts: int) -> str:';
let api;
let person;
let page;
let second;
let other;
let workspace;
let talk;
let work;

before(async () => {
  await account(SELMA, 'Selma', 'developer');
  api = await caller(SELMA);
  workspace = (await (await api('POST', '/workspaces', { name: 'sorts', template: 'python' })).json()).id;
  await api('PUT', `/workspaces/${workspace}/files/content?path=app.py`, FILES['app.py']);
  person = await visit();
  page = person.page;
});

after(async () => {
  if (workspace) await api('DELETE', `/workspaces/${workspace}?force=true`);
  await person?.close();
  await second?.close();
});

const file = async () => (await api('GET', `/workspaces/${workspace}/files/content?path=app.py`)).text();
const log = (where = page) => where.getByRole('region', { name: 'Conversation' });
const prompt = (where = page) => where.getByRole('textbox', { name: 'Prompt' });
const call = (title, where = page) => log(where).locator('.call', { has: where.getByRole('button', { name: title }) });
const idle = (where = page) => where.getByRole('status').filter({ hasText: 'The agent is done.' }).waitFor({ state: 'attached' });

async function begin({ agent, words, at, model }) {
  const before = page.url();
  await page.getByRole('button', { name: 'New', exact: true }).or(page.getByRole('button', { name: 'New session' })).first().click();
  const dialog = page.getByRole('dialog', { name: 'New session' });
  await dialog.getByRole('radio', { name: new RegExp(`^${agent}`) }).check({ force: true });
  if (at) await dialog.getByLabel('Workspace', { exact: true }).selectOption({ label: at });
  if (model) await dialog.getByLabel('Model').selectOption(model);
  await dialog.getByLabel('What should it do?').fill(words);
  assert.deepEqual(await barriers(page), []);
  await dialog.getByRole('button', { name: 'Begin' }).click();
  await page.waitForURL((url) => url.href !== before && /#\/sessions\/ses_/.test(url.hash));
  return /ses_\w+/.exec(page.url())[0];
}

describe('the list', () => {
  it('is empty at first, and says what sessions are for', async () => {
    await person.go('/sessions');
    await signIn(page, SELMA);
    await page.getByRole('heading', { name: 'Sessions', level: 1 }).waitFor();
    await page.getByText('No sessions yet').waitFor();
    assert.deepEqual(await barriers(page), []);
  });
});

describe('a conversation', () => {
  it('begins with a prompt and is answered in Markdown that can do no harm', async () => {
    talk = await begin({ agent: 'general', words: 'When do beans go out?' });
    await log().getByText('When do beans go out?').waitFor();
    await log().getByRole('cell', { name: 'Lazy Housewife' }).waitFor();
    await idle();
    assert.equal(await log().getByRole('strong').filter({ hasText: 'after the last frost' }).count(), 1);
    assert.ok(await log().getByText('sow("Lazy Housewife", depth_cm=3)').isVisible());
    const link = log().getByRole('link', { name: 'the almanac' });
    assert.match(await link.getAttribute('rel'), /noopener/);
    assert.equal(await link.getAttribute('target'), '_blank');
    assert.equal(await log().locator('img').count(), 0, 'what an agent writes as HTML stays text');
    assert.ok(await log().getByText('<img src=x onerror=').isVisible());
    assert.equal(await log().locator('a[href^="javascript"]').count(), 0);
    assert.match(await page.title(), /When do beans go out/);
    assert.deepEqual(await barriers(page), []);
  });

  it('folds thoughts, and says what an answer cost', async () => {
    await log().getByRole('button', { name: 'Thought' }).click();
    await log().getByText('I know enough to answer at once.').waitFor();
    await page.getByText('$0.0049').first().waitFor();
  });

  it('streams, lets prompts wait and takes them back, and stops', async () => {
    await prompt().fill('And how do I water them?');
    await prompt().press('Enter');
    await log().getByText('Water them in the morning').waitFor();
    assert.equal(await log().getByText('nineteen, twenty').count(), 0, 'the rest is still to come');
    await prompt().fill('One more thing');
    await prompt().press('Shift+Enter');
    await page.keyboard.type('and its second line');
    await prompt().press('Enter');
    const queue = page.getByRole('region', { name: 'Prompts that wait' });
    await queue.getByText('One more thing').waitFor();
    assert.deepEqual(await barriers(page), []);
    await queue.getByRole('button', { name: 'Take back' }).click();
    await queue.waitFor({ state: 'detached' });
    assert.equal(await prompt().inputValue(), 'One more thing\nand its second line');
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await log().getByText(/^Stopped/).waitFor();
    await idle();
  });

  it('is all there after loading again', async () => {
    await page.reload();
    await log().getByRole('cell', { name: 'Lazy Housewife' }).waitFor();
    await log().getByText(/^Stopped/).waitFor();
    await log().getByText('And how do I water them?').waitFor();
  });

  it('has a name of its own, is ended, and taken up again', async () => {
    await page.getByRole('button', { name: 'More for this session' }).click();
    await page.getByRole('menuitem', { name: 'Rename…' }).click();
    await page.getByLabel('Title').fill('Beans');
    await page.getByRole('button', { name: 'Rename', exact: true }).click();
    await page.getByRole('heading', { name: 'Beans', level: 2 }).waitFor();
    await page.locator('#session-list').getByText('Beans', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'More for this session' }).click();
    await page.getByRole('menuitem', { name: 'End…' }).click();
    await page.getByRole('button', { name: 'End', exact: true }).click();
    await page.getByText('This session was ended. Resume it to go on.').waitFor();
    await page.getByRole('button', { name: 'Resume' }).click();
    await prompt().waitFor();
  });
});

describe('an agent in a workspace', () => {
  it('uses tools, which are folded, and asks before it changes a file', async () => {
    work = await begin({ agent: 'coder', words: 'Count one sort as one.', at: 'sorts', model: 'coder/work' });
    await call('Read app.py').getByRole('button', { name: 'Read app.py' }).click();
    await call('Read app.py').getByText('def row(seed').waitFor();
    assert.ok(!/[{}]/.test(await call('Read app.py').getByRole('table', { name: 'Arguments' }).innerText()), 'no JSON where a person reads');
    const change = log().getByRole('region', { name: 'Proposed change of app.py' });
    await change.getByText('{counted(len(seeds()))}, kept dry and cool.').waitFor();
    assert.ok(!(await file()).includes('counted'), 'nothing happened yet');
    await log().getByRole('group', { name: 'The agent asks' }).getByRole('button', { name: 'Approve' }).waitFor();
    await page.locator('#session-list').getByText('Waits for you').waitFor();
    assert.deepEqual(await barriers(page), []);
  });

  it('is seen live in a second browser', async () => {
    second = await visit();
    other = second.page;
    await second.go(`/sessions/${work}`);
    await signIn(other, SELMA);
    await second.go(`/sessions/${work}`);
    await log(other).getByRole('region', { name: 'Proposed change of app.py' }).waitFor();
    await log().getByRole('group', { name: 'The agent asks' }).getByRole('button', { name: 'Approve' }).click();
    await log(other).getByRole('region', { name: 'Change of app.py', exact: true }).waitFor();
    await log(other).getByRole('region', { name: 'Proposed change of app.py' }).getByText(ADDED).waitFor();
    assert.ok((await file()).includes('{counted(len(seeds()))}'));
  });

  it('is allowed more of the same for as long as the session lasts', async () => {
    await log().getByRole('button', { name: 'Allow for this session' }).click();
    await log().getByText('is allowed for as long as this session lasts').waitFor();
    await log().getByRole('region', { name: 'Change of app.py', exact: true }).nth(1).waitFor();
    assert.ok((await file()).includes(ADDED));
  });

  it('asks in the room Approvals, too, and goes on when it is answered there', async () => {
    await call(/^Run python3/).getByRole('group', { name: 'The agent asks' }).waitFor();
    await second.go('/approvals');
    await other.locator('#approval-list [data-id]').filter({ hasText: 'Run python3' }).first().click();
    const question = other.getByRole('region', { name: 'Question' });
    await question.getByRole('link', { name: 'See the session' }).waitFor();
    assert.ok(!/[{}]/.test(await question.innerText()), 'no JSON where a person reads');
    assert.deepEqual(await barriers(other), []);
    await question.getByRole('button', { name: 'Approve' }).click();
    await log().getByText('The page says').waitFor();
    await idle();
    assert.equal(await log().getByRole('group', { name: 'The agent asks' }).count(), 0);
  });

  it('keeps long results whole beside the conversation, and links to the record', async () => {
    const run = call(/^Run python3/);
    await run.getByRole('button', { name: /^Run python3/ }).click();
    await run.getByText('1 sort 9 sorts').waitFor();
    await run.getByRole('button', { name: 'Show the whole result' }).click();
    await page.getByRole('dialog').getByText(/\b6000\b/).last().waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.keyboard.press('Escape');
    assert.match(await run.getByRole('link', { name: 'See the record' }).getAttribute('href'), /^#\/audit\?view=records&record=/);
  });

  it('is the same after loading again, whoever looks', async () => {
    await page.reload();
    await log().getByText('The page says').waitFor();
    assert.equal(await log().getByRole('region', { name: 'Change of app.py', exact: true }).count(), 2);
    assert.equal(await log().locator('.call').count(), 4);
    await second.go(`/sessions/${work}`);
    await log(other).getByText('The page says').waitFor();
    assert.equal(await log(other).locator('.call').count(), 4);
  });

  it('shows what became of the files, and takes one part back', async () => {
    await page.getByRole('tab', { name: /^Files/ }).click();
    const change = page.getByRole('region', { name: 'Change of app.py' });
    await change.getByText('{counted(len(seeds()))}').waitFor();
    await change.getByRole('button', { name: 'Undo this part' }).last().click();
    await change.getByText('Undone', { exact: true }).waitFor();
    const now = await file();
    assert.ok(now.includes('{len(seeds())} sorts, kept dry'), 'the second part is as it was');
    assert.ok(now.includes(ADDED), 'the first one stays');
  });

  it('lists what was allowed, and asks again when it is taken back', async () => {
    await page.getByRole('tab', { name: 'About' }).click();
    await page.getByRole('button', { name: 'Ask again about Edit file' }).click();
    await page.getByText('Nothing. “Allow for this session”').waitFor();
    assert.deepEqual(await barriers(page), []);
  });

  it('has the terminal of its workspace', async () => {
    await page.getByRole('tab', { name: 'Terminal' }).click();
    await page.getByRole('button', { name: 'Open a terminal' }).click();
    await page.locator('.lamp.open').first().waitFor();
    await page.locator('.screen.shown .xterm').first().click();
    await page.keyboard.type('echo there-$((40+2))\n');
    await page.locator('.xterm-rows').getByText('there-42').waitFor();
    await page.getByRole('tab', { name: 'Conversation' }).click();
  });

  it('is marked when it claims what no record shows', async () => {
    await prompt().fill('Anything else?');
    await prompt().press('Enter');
    await log().getByText('No record shows this').first().waitFor();
    await idle();
    assert.deepEqual(await barriers(page), []);
  });

  it('is forked from any place', async () => {
    const message = log().locator('.message').filter({ hasText: 'The page says' });
    await message.hover();
    await message.getByRole('button', { name: 'Fork from here' }).click();
    await page.waitForURL((url) => !url.hash.includes(work) && url.hash.includes('/sessions/ses_'));
    await log().getByText('Forked here.').waitFor();
    await log().getByText('The page says').waitFor();
    assert.equal(await log().getByText('No record shows this').count(), 0);
  });
});

describe('a directory of the server', () => {
  it('is not offered where it is switched off', async () => {
    await person.go('/sessions');
    await page.getByRole('button', { name: 'New', exact: true }).click();
    const dialog = page.getByRole('dialog', { name: 'New session' });
    await dialog.getByRole('radio', { name: /^coder/ }).check({ force: true });
    const places = dialog.getByLabel('Workspace', { exact: true });
    await places.getByRole('option', { name: 'sorts' }).waitFor({ state: 'attached' });
    assert.equal(await places.getByRole('option', { name: 'A directory of the server' }).count(), 0);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
  });
});

describe('a no', () => {
  it('is told to the agent with its reason, and nothing is changed', async () => {
    const before = await file();
    const { id } = await (await api('POST', '/sessions', { agent: 'coder', model: 'coder/work', workspace_id: workspace, prompt: 'Try again', title: 'Refused' })).json();
    await person.go(`/sessions/${id}`);
    const asked = log().getByRole('group', { name: 'The agent asks' });
    await asked.getByRole('textbox', { name: 'Reason' }).fill('Not on a Saturday');
    await asked.getByRole('button', { name: 'Reject' }).click();
    const refused = call(/^Edit app\.py/).filter({ hasText: 'Not done' });
    await refused.getByRole('button', { name: /^Edit app\.py/ }).click();
    await refused.getByText('“Not on a Saturday”').waitFor();
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await log().getByText(/^Stopped/).waitFor();
    assert.equal(await file(), before);
    assert.deepEqual(await barriers(page), []);
  });
});

describe('a change of which only some is wanted', () => {
  const LINES = Array.from({ length: 40 }, (_, index) => `line ${index + 1}`);
  const better = (...which) => `${LINES.map((line, index) => (which.includes(index + 1) ? `${line}, said better` : line)).join('\n')}\n`;
  const poem = async () => (await api('GET', `/workspaces/${workspace}/files/content?path=poem.txt`)).text();
  const save = (content) => api('PUT', `/workspaces/${workspace}/files/content?path=poem.txt`, content);
  const asked = () => log().getByRole('group', { name: 'The agent asks' });
  const proposal = () => log().getByRole('region', { name: 'Proposed change of poem.txt' });
  const box = (line) => proposal().getByRole('checkbox', { name: `Take this part at line ${line}`, exact: true });

  it('has a box for each part, and nothing is applied before somebody says so', async () => {
    await save(better());
    const { id } = await (await api('POST', '/sessions', { agent: 'coder', model: 'poet/parts', workspace_id: workspace, prompt: 'Say it better', title: 'Poem' })).json();
    await page.setViewportSize({ width: 390, height: 844 });
    await person.go(`/sessions/${id}`);
    await box(20).waitFor();
    assert.equal(await proposal().getByRole('checkbox').count(), 3);
    await asked().getByRole('button', { name: 'Approve', exact: true }).waitFor();
    for (const line of [3, 20, 38]) await box(line).uncheck();
    await asked().getByText('Reject instead').waitFor();
    assert.ok(await asked().getByRole('button', { name: 'Apply 0 of 3 parts' }).isDisabled());
    await box(3).focus();
    await page.keyboard.press('Space');
    await box(38).check();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'nothing hangs over the side');
    const height = await proposal().locator('label', { has: page.getByRole('checkbox') }).first().evaluate((label) => label.getBoundingClientRect().height);
    assert.ok(height >= 40, 'a box is large enough for a thumb');
    assert.deepEqual(await barriers(page), []);
    assert.equal(await poem(), better());
  });

  it('is not saved over what somebody else saved meanwhile', async () => {
    await save(better(30));
    await asked().getByRole('button', { name: 'Apply 2 of 3 parts' }).click();
    await asked().getByText('was changed by somebody else meanwhile, so nothing was saved').waitFor();
    assert.equal(await poem(), better(30));
    await save(better());
    await page.reload();
    await box(20).uncheck();
  });

  it('is applied in part, and the agent reads which part and why', async () => {
    await asked().getByRole('textbox', { name: 'Reason' }).fill('The middle is fine');
    await asked().getByRole('button', { name: 'Apply 2 of 3 parts' }).click();
    await log().getByText('Two of three it is.').waitFor();
    assert.equal(await poem(), better(3, 38));
    await call(/^Write poem\.txt/).first().getByText('Applied in part by you').waitFor();
    assert.deepEqual(await barriers(page), []);
  });

  it('is approved and rejected as a whole as ever', async () => {
    await log().getByRole('region', { name: 'Proposed change of poem.txt' }).waitFor();
    await asked().getByRole('textbox', { name: 'Reason' }).fill('Leave it');
    await asked().getByRole('button', { name: 'Reject' }).click();
    await log().getByText('Then I leave it.').waitFor();
    assert.equal(await poem(), better(3, 38));
  });

  it('is undone part by part, after loading again too', async () => {
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.reload();
    const applied = log().getByRole('region', { name: 'Change of poem.txt', exact: true });
    await applied.getByRole('button', { name: 'Undo this part' }).last().click();
    await applied.getByText('Undone', { exact: true }).waitFor();
    assert.equal(await poem(), better(3));
  });
});

describe('a shared link', () => {
  it('lets anybody read along, and nothing else, until it is taken back', async () => {
    await person.go(`/sessions/${work}`);
    await page.getByRole('button', { name: 'More for this session' }).click();
    await page.getByRole('menuitem', { name: 'Share a link to read…' }).click();
    await page.getByRole('button', { name: 'Make a link' }).click();
    const link = await page.getByLabel('Link').inputValue();
    const stranger = await visit();
    try {
      await stranger.page.goto(link);
      await log(stranger.page).getByText('The page says').waitFor();
      assert.equal(await prompt(stranger.page).count(), 0);
      assert.equal(await stranger.page.getByRole('button', { name: /Undo|Fork|Take back/ }).count(), 0);
      assert.deepEqual(await barriers(stranger.page), []);
      await page.getByRole('button', { name: 'Take all links back' }).click();
      await page.getByText('no longer does').first().waitFor();
      await page.keyboard.press('Escape');
      await stranger.page.reload();
      await stranger.page.getByRole('alert').waitFor();
      assert.deepEqual(stranger.complaints, []);
    } finally {
      await stranger.close();
    }
  });
});

describe('beside an editor', () => {
  it('shows the same session, and its links open files', async () => {
    await person.go(`/sessions/${work}`);
    await log().getByText('The page says').waitFor();
    await page.getByRole('button', { name: 'Open in IDE' }).click();
    const chat = page.getByRole('region', { name: 'Chat', exact: true });
    await chat.getByText('The page says').waitFor();
    await chat.getByRole('link', { name: 'Open' }).first().click();
    await page.getByRole('tab', { name: 'app.py', selected: true }).waitFor();
    assert.deepEqual(await barriers(page), []);
  });

  it('takes what is selected along, and the editor follows what is undone', async () => {
    const text = page.locator('.cm-content').first();
    await text.getByText(ADDED).click();
    await page.keyboard.press('Home');
    await page.keyboard.press('Shift+End');
    await page.keyboard.press('ControlOrMeta+i');
    const along = page.getByRole('list', { name: 'What goes along' });
    await along.getByText(/app\.py:\d+/).waitFor();
    assert.ok(await prompt().evaluate((field) => field === document.activeElement), 'the next word goes into the prompt');
    await page.getByRole('button', { name: /^Leave out app\.py/ }).click();
    const chat = page.getByRole('region', { name: 'Chat', exact: true });
    await chat.getByRole('region', { name: 'Change of app.py', exact: true }).last().getByRole('button', { name: 'Undo', exact: true }).click();
    await text.getByText(ADDED).waitFor({ state: 'detached' });
    assert.ok(!(await file()).includes(ADDED));
  });

  it('begins a session there, with the selection in its first prompt', async () => {
    await page.getByRole('region', { name: 'Chat', exact: true }).getByRole('button', { name: 'New session' }).click();
    const dialog = page.getByRole('dialog', { name: 'New session' });
    await dialog.getByRole('radio', { name: /^general/ }).check({ force: true });
    assert.notEqual(await dialog.getByLabel('Workspace', { exact: true }).inputValue(), '', 'it begins in this workspace');
    await dialog.getByRole('button', { name: 'Begin' }).click();
    await page.getByText('Nothing was said yet').waitFor();
    const text = page.locator('.cm-content').first();
    await text.getByText('import csv').click();
    await page.keyboard.press('Home');
    await page.keyboard.press('Shift+End');
    await page.getByRole('button', { name: /^Add app\.py:3/ }).click();
    await prompt().fill('What is this for?');
    await prompt().press('Enter');
    await log().getByText('From `app.py`, line 3:').waitFor();
    await log().getByText('after the last frost').waitFor();
    assert.deepEqual(await barriers(page), []);
  });
});

describe('on a phone, and in the dark', () => {
  it('lists, shows and says with one hand', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
    await person.go('/sessions');
    await page.getByRole('heading', { name: 'Sessions', level: 1 }).waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.locator('#session-list').getByText('Beans', { exact: true }).click();
    await log().getByText('After').or(log().getByText('after the last frost')).first().waitFor();
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    assert.equal(await wide(), false, 'nothing hangs over the side');
    const send = await page.getByRole('button', { name: 'Send' }).boundingBox();
    assert.ok(send.width >= 40 && send.height >= 40 && send.y > 600, 'the button to send is large and near the thumb');
    await prompt().fill('Are you there?');
    await page.getByRole('button', { name: 'Send' }).click();
    await log().getByText('Are you there?').waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.getByRole('button', { name: 'All sessions' }).click();
    await page.getByRole('heading', { name: 'Sessions', level: 1 }).waitFor();
    assert.equal(await wide(), false, 'nothing hangs over the side');
  });

  it('finds by what is looked for', async () => {
    await page.getByRole('searchbox', { name: 'Search sessions' }).fill('Beans');
    const rows = page.locator('#session-list [data-id]');
    await page.waitForFunction(() => document.querySelectorAll('#session-list [data-id]').length === 1);
    assert.match(await rows.first().innerText(), /Beans/);
    await page.getByRole('searchbox', { name: 'Search sessions' }).fill('');
  });

  it('answers a question of the agent in the chat of the IDE', async () => {
    await person.go(`/workspaces/${workspace}?chat=${work}`);
    await log().getByText('The page says').waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'nothing hangs over the side');
    assert.deepEqual(await barriers(page), []);
  });
});

describe('bad days', () => {
  it('goes on where it was when the connection comes back', async () => {
    await page.setViewportSize({ width: 1440, height: 900 });
    await person.go(`/sessions/${talk}`);
    await log().getByText('after the last frost').waitFor();
    const before = await log().locator('.prompt').count();
    await page.context().setOffline(true);
    await page.getByText('Reeve cannot be reached. What you see may be old').waitFor();
    await api('POST', `/sessions/${talk}/prompts`, { text: 'said while nobody was connected' });
    await page.context().setOffline(false);
    await page.getByText('said while nobody was connected').first().waitFor();
    assert.ok((await log().locator('.prompt').count()) >= before);
  });

  it('broke no rule of the page’s policy', () => {
    assert.deepEqual(person.complaints, []);
    assert.deepEqual(second.complaints, []);
  });
});
