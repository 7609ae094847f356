// The shell and its rooms, used as a person uses them. Run by scripts/test-web. The tests build on one another: one person
// works through all of them, and a second one asks for what she must not do alone.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { account, answerLinks, barriers, caller, PASSWORD, savedToDisk, savesToDisk, signIn, signInLink, visit } from './visit.mjs';

const DORA = 'dora@example.com';
const name = 'garden';
const kept = 'ledger';
let person;
let page;
let dora;
let link;

before(async () => {
  await account(DORA, 'Dora', 'developer');
  dora = await caller(DORA);
  link = await signInLink();
  person = await visit();
  page = person.page;
});

after(async () => {
  await person?.close();
});

const row = (which) => page.locator('tbody tr', { has: page.getByRole('button', { name: which, exact: true }) });

async function menu(which, item) {
  await row(which).getByRole('button', { name: `More for ${which}` }).click();
  await page.getByRole('menuitem', { name: item }).click();
}

describe('signing in', () => {
  it('refuses what is wrong, and says so', async () => {
    await person.go('/workspaces');
    await page.getByLabel('E-mail', { exact: true }).fill('nobody@example.org');
    await page.getByLabel('Password').fill('wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').filter({ hasText: /wrong|many/i }).waitFor();
    assert.deepEqual(await barriers(page), []);
  });

  it('takes a link once, takes it out of the address and keeps no token in the browser', async () => {
    await person.go(`/sign-in?link=${link}`);
    await page.getByRole('heading', { name: 'Workspaces', level: 1 }).waitFor();
    assert.ok(!page.url().includes(link));
    const kept = await page.evaluate(() => JSON.stringify({ ...localStorage }) + JSON.stringify({ ...sessionStorage }) + document.cookie);
    assert.ok(!/ey[\w-]+\.[\w-]+\./.test(kept) && !kept.includes(link), 'no secret is kept where scripts can read it');
  });

  it('survives a reload through the cookie', async () => {
    await page.reload();
    await page.getByRole('heading', { name: 'Workspaces', level: 1 }).waitFor();
  });

  it('leads from the first link of an installation to a workspace that is one click away', async () => {
    await person.go(`/sign-in?link=${await signInLink()}&to=${encodeURIComponent('/workspaces?new=python')}`);
    const dialog = page.getByRole('dialog', { name: 'New workspace' });
    await dialog.waitFor();
    await dialog.getByRole('radio', { name: /^Python/ }).and(page.locator(':checked')).waitFor({ state: 'attached' });
    assert.ok(await dialog.getByRole('button', { name: 'Create and open' }).isEnabled());
    assert.ok(!page.url().includes('new='), 'the wish is heard once');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    await person.go(`/sign-in?link=${await signInLink()}&to=${encodeURIComponent('//elsewhere.example')}`);
    await page.waitForURL(/#\/workspaces$/);
  });
});

describe('workspaces', () => {
  it('are made from a template and open at once', async () => {
    await page.getByRole('button', { name: 'New workspace' }).first().click();
    const dialog = page.getByRole('dialog', { name: 'New workspace' });
    await dialog.getByRole('radio').first().waitFor({ state: 'attached' });
    await dialog.getByLabel('Name', { exact: true }).fill(name);
    await dialog.getByLabel('What it is for').fill('made by a test of the page');
    await dialog.getByRole('button', { name: 'Create and open' }).click();
    await page.waitForURL(/#\/workspaces\/wsp_/);
    await person.go('/workspaces');
    await row(name).getByText('Running').waitFor();
  });

  it('show what they are, and what held them, in words', async () => {
    await row(name).getByRole('button', { name, exact: true }).click();
    const details = page.getByRole('complementary', { name: `Details of ${name}` });
    await details.getByText('made by a test of the page').waitFor();
    await details.getByText(/namespaces of the kernel|container of its own|kernel of its own/).waitFor();
    assert.ok(!(await details.innerText()).includes('{'), 'no JSON where a person reads');
    assert.deepEqual(await barriers(page), []);
  });

  it('rest and go on', async () => {
    await menu(name, 'Suspend');
    await row(name).getByText('Suspended').waitFor();
    await menu(name, 'Resume');
    await row(name).getByText('Running').waitFor();
  });

  it('keep snapshots', async () => {
    await menu(name, 'Take snapshot…');
    await page.getByLabel('Name of the snapshot').fill('first');
    await page.getByRole('button', { name: 'Take snapshot' }).click();
    await page.getByText(`Snapshot “first” of “${name}” is kept`).first().waitFor();
  });

  it('are exported to a file, and made again from it', async () => {
    await savesToDisk(page);
    await menu(name, 'Export as tar');
    const bytes = await savedToDisk(page, `${name}.tar`);
    assert.equal(bytes.subarray(257, 262).toString(), 'ustar', 'it is a tar');
    await page.getByLabel('Exported workspace').setInputFiles({ name: `${name}.tar`, mimeType: 'application/x-tar', buffer: bytes });
    const dialog = page.getByRole('dialog', { name: 'Import a workspace' });
    assert.equal(await dialog.getByLabel('Name', { exact: true }).inputValue(), name);
    await dialog.getByLabel('Name', { exact: true }).fill(`${name} again`);
    assert.deepEqual(await barriers(page), []);
    await dialog.getByRole('button', { name: 'Import' }).click();
    await row(`${name} again`).waitFor();
  });

  it('are offered what the server can give, and it is said why not more', async () => {
    // As if this server had Docker, too, and kept a template for it alone.
    await page.route('**/api/v1/workspace-templates', async (route) => {
      const response = await route.fetch();
      const told = await response.json();
      told.drivers.push({ name: 'docker', default: false, networks: ['none'], without_network: 'the driver `docker` gives no network' });
      told.templates.push({ ...told.templates[0], name: 'gpu', title: 'Graphics', drivers: ['docker'] });
      await route.fulfill({ response, json: told });
    });
    await page.reload();
    await page.getByRole('button', { name: 'New workspace' }).first().click();
    const dialog = page.getByRole('dialog', { name: 'New workspace' });
    await dialog.getByRole('button', { name: /^Limits, network and isolation/ }).click();
    const network = (name) => dialog.getByRole('radio', { name });
    await network(/^The public internet/).check();
    await dialog.getByLabel('Held by').selectOption('docker');
    await dialog.getByText('The driver docker gives no network. Choose “Namespace” for one.').waitFor();
    assert.ok(await network(/^Nothing/).isChecked());
    assert.ok(await network(/^Named hosts/).isDisabled());
    assert.deepEqual(await barriers(page), []);
    await dialog.getByText('Graphics', { exact: true }).click();
    await dialog.getByLabel('Held by').waitFor({ state: 'detached' });
    await dialog.getByText('The driver docker gives no network.', { exact: true }).waitFor();
    await page.unroute('**/api/v1/workspace-templates');

    await page.route('**/api/v1/workspace-templates', async (route) => {
      const response = await route.fetch();
      const told = await response.json();
      told.templates[0] = { ...told.templates[0], drivers: ['docker'] };
      await route.fulfill({ response, json: { ...told, rules: { ...told.rules, egress_by_choice: false } } });
    });
    await page.reload();
    await page.getByRole('button', { name: 'New workspace' }).first().click();
    await dialog.getByText('Needs Docker, which this server does not use.').waitFor();
    assert.ok(await dialog.getByRole('radio').first().isDisabled());
    await dialog.getByRole('button', { name: /^Limits, network and isolation/ }).click();
    await dialog.getByText('On this server the template decides what a workspace reaches.').waitFor();
    assert.ok(await network(/^The public internet/).isDisabled());
    assert.equal(await dialog.getByLabel('Held by').count(), 0, 'there is nothing to choose');
    assert.deepEqual(await barriers(page), []);
    await page.unroute('**/api/v1/workspace-templates');
    await page.reload();
    await row(name).waitFor();
  });

  it('are forked', async () => {
    await menu(name, 'Fork…');
    await page.getByLabel('Name of the new workspace').fill(`${name} two`);
    await page.getByRole('button', { name: 'Fork', exact: true }).click();
    await row(`${name} two`).waitFor();
  });

  it('are deleted with a way back, by the keyboard', async () => {
    await row(`${name} two`).getByRole('button', { name: `${name} two`, exact: true }).focus();
    await page.keyboard.press('Delete');
    await row(`${name} two`).waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Undo' }).click();
    await row(`${name} two`).waitFor();
    for (const which of [`${name} two`, `${name} again`, name]) {
      await menu(which, 'Delete');
      await row(which).waitFor({ state: 'detached' });
    }
    await page.getByRole('tab', { name: /^Deleted/ }).click();
    for (const which of [`${name} two`, `${name} again`, name]) {
      await menu(which, 'Remove for good…');
      await page.getByRole('button', { name: 'Remove for good' }).click();
      await row(which).waitFor({ state: 'detached' });
    }
    await page.getByRole('tab', { name: 'All' }).click();
  });
});

describe('approvals', () => {
  it('appear by themselves and are answered with a reason', async () => {
    await person.go('/approvals');
    await page.getByRole('heading', { name: 'Approvals', level: 1 }).waitFor();
    const made = await (await dora('POST', '/workspaces', { name: kept, template: 'base', tags: ['kept'] })).json();
    const answer = await dora('DELETE', `/workspaces/${made.id}`);
    assert.equal(answer.status, 202, 'what is kept is not deleted by one person');
    await page.getByRole('link', { name: /Approvals\s*1/ }).waitFor();
    await page.locator('#approval-list [data-id]').first().click();
    const question = page.getByRole('region', { name: 'Question' });
    await question.getByText('What will happen').waitFor();
    assert.ok(!/[{}]/.test(await question.innerText()), 'no JSON where a person reads');
    assert.deepEqual(await barriers(page), []);
    await question.getByRole('button', { name: 'Deny' }).click();
    await question.getByText('Say why in a few words').waitFor();
    await question.getByLabel('Reason', { exact: true }).fill('looked at by a test of the page');
    await question.getByRole('button', { name: 'Approve' }).click();
    await page.getByText(/^Approved/).first().waitFor();
    await page.getByRole('link', { name: /^Approvals$/ }).waitFor();
    await person.go('/workspaces');
    await page.getByRole('tab', { name: /^Deleted/ }).click();
    await row(kept).getByText('Deleted').waitFor();
  });
});

describe('a link that answers', () => {
  let phone;
  let question;
  let links;

  before(async () => {
    const made = await (await dora('POST', '/workspaces', { name: `${kept} two`, template: 'base', tags: ['kept'] })).json();
    question = await (await dora('DELETE', `/workspaces/${made.id}`)).json();
    links = await answerLinks(question.approval_id);
    phone = await visit({ viewport: { width: 390, height: 844 } });
  });

  after(async () => phone?.close());

  it('shows the question to who is not signed in, and does nothing by itself', async () => {
    await phone.page.goto(links.deny);
    await phone.page.getByRole('button', { name: 'Deny' }).waitFor();
    assert.ok(!/[{}]/.test(await phone.page.locator('main').innerText()), 'no JSON where a person reads');
    assert.deepEqual(await barriers(phone.page), []);
    const still = await (await dora('GET', `/approvals/${question.approval_id}`)).json();
    assert.equal(still.status, 'pending');
  });

  it('answers with one more click, and only once', async () => {
    await phone.page.goto(links.approve);
    await phone.page.getByLabel('Reason', { exact: true }).fill('from a phone');
    await phone.page.getByRole('button', { name: 'Approve' }).click();
    await phone.page.getByText('You can close this page').waitFor();
    const settled = await (await dora('GET', `/approvals/${question.approval_id}`)).json();
    assert.equal(settled.status, 'approved');
    assert.equal(settled.resolution_reason, 'from a phone');
    await phone.page.reload();
    await phone.page.getByText('there is nothing left to answer').waitFor();
    assert.deepEqual(await barriers(phone.page), []);
  });
});

describe('audit', () => {
  it('says that nothing was changed', async () => {
    await person.go('/audit');
    await page.getByText('Nothing was changed.').waitFor();
    assert.deepEqual(await barriers(page), []);
  });

  it('tells a journey step by step', async () => {
    await page.locator('#audit-list [data-id]').first().click();
    await page.getByRole('complementary', { name: 'Journey' }).getByRole('listitem').first().waitFor();
    assert.deepEqual(await barriers(page), []);
  });

  it('gives a proof of a record for keeping', async () => {
    await page.getByRole('tab', { name: 'Records' }).click();
    await page.locator('#audit-list [data-id]').first().click();
    const record = page.getByRole('complementary', { name: 'Record' });
    const [download] = await Promise.all([page.waitForEvent('download'), record.getByRole('button', { name: 'Download proof' }).click()]);
    const proof = await readFile(await download.path(), 'utf8');
    assert.ok(proof.length > 10);
    await record.getByText('All fields').click();
    assert.ok(!/[{}]/.test(await record.innerText()), 'no JSON where a person reads');
    assert.deepEqual(await barriers(page), []);
  });
});

describe('the keyboard', () => {
  it('finds everything by name', async () => {
    await person.go('/workspaces');
    await page.getByRole('heading', { name: 'Workspaces', level: 1 }).waitFor();
    await page.keyboard.press('Control+Shift+P');
    await page.getByRole('combobox', { name: 'Search commands' }).fill('aud');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Audit', level: 1 }).waitFor();
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
    assert.deepEqual(await barriers(page), []);
    await page.keyboard.press('Escape');
    await page.keyboard.press('g');
    await page.keyboard.press('w');
    await page.getByRole('heading', { name: 'Workspaces', level: 1 }).waitFor();
  });
});

describe('on a small screen', () => {
  before(async () => page.setViewportSize({ width: 1024, height: 768 }));

  for (const [path, heading] of [['/workspaces', 'Workspaces'], ['/sessions', 'Sessions'], ['/approvals', 'Approvals'], ['/audit', 'Audit'], ['/audit?view=records', 'Audit']]) {
    it(`${path} fits, and has no barrier`, async () => {
      await person.go(path);
      await page.getByRole('heading', { name: heading, level: 1 }).waitFor();
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'nothing hangs over the side');
      assert.deepEqual(await barriers(page), []);
    });
  }
});

describe('on a phone, and in the dark', () => {
  before(async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
  });

  for (const [path, heading] of [['/workspaces', 'Workspaces'], ['/approvals', 'Approvals'], ['/audit', 'Audit'], ['/audit?view=records', 'Audit']]) {
    it(`${path} fits, and has no barrier`, async () => {
      await person.go(path);
      await page.getByRole('heading', { name: heading, level: 1 }).waitFor();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.equal(wide, false, 'nothing hangs over the side');
      assert.deepEqual(await barriers(page), []);
    });
  }
});

describe('one’s own account', () => {
  const ELSE = 'Another passphrase of Dora';
  let dora;

  after(async () => dora?.close());

  it('changes its password, and ends its sign-ins', async () => {
    dora = await visit();
    const where = dora.page;
    await dora.go('/workspaces');
    await signIn(where, DORA);
    await where.getByRole('button', { name: /account/ }).click();
    await where.getByRole('menuitem', { name: /^Password and sign-ins/ }).click();
    const dialog = where.getByRole('dialog', { name: 'Your account' });
    // The caller of these tests signed in, too.
    await dialog.getByRole('region', { name: 'Sign-ins' }).getByRole('listitem').nth(1).waitFor();
    await dialog.getByText('here', { exact: true }).waitFor();
    assert.deepEqual(await barriers(where), []);
    await dialog.getByRole('button', { name: /^End the sign-in/ }).filter({ hasText: 'End' }).first().click();
    await dialog.getByRole('listitem').nth(1).waitFor({ state: 'detached' });
    await dialog.getByLabel('Current password').fill('not this one');
    await dialog.getByLabel('New password', { exact: true }).fill(ELSE);
    await dialog.getByLabel('New password again').fill('something else');
    await dialog.getByText('It is not the same.').waitFor();
    await dialog.getByLabel('New password again').fill(ELSE);
    await dialog.getByRole('button', { name: 'Change the password' }).click();
    await dialog.getByRole('alert').waitFor();
    await dialog.getByLabel('Current password').fill(PASSWORD);
    await dialog.getByRole('button', { name: 'Change the password' }).click();
    await where.getByText('The password is changed').first().waitFor();
    await where.setViewportSize({ width: 390, height: 844 });
    assert.equal(await where.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'nothing hangs over the side');
    assert.deepEqual(await barriers(where), []);
    await dialog.getByRole('button', { name: 'Sign out of this one' }).click();
    await where.getByLabel('E-mail', { exact: true }).fill(DORA);
    await where.getByLabel('Password').fill(ELSE);
    await where.getByRole('button', { name: 'Sign in' }).click();
    await where.getByRole('navigation').first().waitFor();
    assert.deepEqual(dora.complaints, []);
  });
});

describe('bad days', () => {
  it('keep the page when the session ends, and ask to sign in over it', async () => {
    await page.setViewportSize({ width: 1440, height: 900 });
    await person.go('/workspaces');
    await page.getByRole('heading', { name: 'Workspaces', level: 1 }).waitFor();
    const refused = { status: 401, contentType: 'application/problem+json', body: JSON.stringify({ code: 'unauthenticated', status: 401, detail: 'over' }) };
    await page.route('**/api/v1/**', (route) => route.fulfill(refused));
    await page.getByRole('link', { name: 'Audit' }).click();
    await page.getByRole('dialog', { name: 'Your session has ended' }).waitFor();
    await page.unroute('**/api/v1/**');
  });

  it('say that the server is away, and find it again', async () => {
    await page.reload();
    await page.getByRole('heading', { name: 'Audit', level: 1 }).waitFor();
    await page.route('**/*', (route) => route.abort());
    await page.getByRole('button', { name: 'Verify again' }).click();
    await page.getByText('Reeve cannot be reached. What you see may be old').waitFor();
    await page.unroute('**/*');
    await page.getByText('Reeve cannot be reached. What you see may be old').waitFor({ state: 'detached', timeout: 30_000 });
  });

  it('broke no rule of the page’s policy', () => {
    assert.deepEqual(person.complaints, []);
  });
});
