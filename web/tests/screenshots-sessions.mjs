// The scenes of sessions: a question and its answer, an agent that works in a workspace and asks, the IDE's chat.

import { FILES } from './scene.mjs';

/** Takes them. `take` leaves a picture of the page as it is, in each size and theme that is wanted. */
export async function takeSessions({ person, take, api, workspace }) {
  const { page } = person;
  const log = page.getByRole('region', { name: 'Conversation' });
  const answer = async (name) => log.getByRole('group', { name: 'The agent asks' }).getByRole('button', { name }).click();
  const made = async (wanted) => (await (await api('POST', '/sessions', wanted)).json()).id;

  await made({ agent: 'general', prompt: 'What should we sow in February?', title: 'Sowing calendar' });
  const beans = await made({ agent: 'general', model: 'almanac/sow', prompt: 'When do beans go out?' });
  const ended = await made({ agent: 'general', prompt: 'How dry must seeds be before they are stored?', title: 'Storing seeds' });
  const work = await made({ agent: 'coder', model: 'coder/work', workspace_id: workspace, prompt: 'The heading says “1 sorts” when there is only one. Count one sort as one.', title: 'Count one sort as one' });
  await person.go(`/sessions/${ended}`);
  await log.getByText('after the last frost').waitFor();
  await api('POST', `/sessions/${ended}/kill`, { reason: 'answered' });

  await person.go(`/sessions/${work}`);
  await log.getByRole('region', { name: /^Proposed change/ }).waitFor();
  await take('sessions', { 390: () => undefined });
  await page.setViewportSize({ width: 390, height: 844 });
  await person.go('/sessions');
  await page.locator('#session-list [data-id]').first().waitFor();
  await take('sessions-list');

  await person.go('/sessions');
  await page.getByRole('button', { name: 'New', exact: true }).click();
  await page.getByRole('dialog', { name: 'New session' }).getByRole('radio').first().waitFor({ state: 'attached' });
  await page.getByLabel('What should it do?').fill('Add a test for the page with a single sort.');
  await take('sessions-new');
  await page.keyboard.press('Escape');

  await person.go(`/sessions/${beans}`);
  await log.getByText('after the last frost').waitFor();
  await take('sessions-answer');

  await person.go(`/workspaces/${workspace}?chat=${work}`);
  const chat = page.getByRole('region', { name: 'Chat', exact: true });
  await chat.getByRole('region', { name: /^Proposed change/ }).getByRole('link', { name: 'Open' }).click();
  await page.getByRole('tab', { name: 'app.py', selected: true }).waitFor();
  await page.locator('.cm-content').getByText('def page').waitFor();
  const phone = (pane) => page.getByRole('navigation', { name: 'Panes' }).getByRole('button', { name: pane, exact: true }).click();
  await take('sessions-ide', { 390: () => phone('Chat') });

  await person.go(`/sessions/${work}`);
  await answer('Approve');
  await log.getByText('return f"{sorts} sort"').waitFor();
  await answer('Allow for this session');
  await log.getByText(/Run python3/).first().waitFor();
  await answer('Approve');
  await log.getByText('The page says').waitFor();
  await page.getByRole('status').filter({ hasText: 'The agent is done.' }).waitFor({ state: 'attached' });
  await take('sessions-done');
  await page.getByRole('tab', { name: /^Files/ }).click();
  await take('sessions-files');
  await page.getByRole('tab', { name: 'About' }).click();
  await take('sessions-about');
  // What follows begins as if nobody had chatted.
  await person.go(`/workspaces/${workspace}`);
  await chat.getByRole('button', { name: 'Hide the chat' }).click();
  await api('PUT', `/workspaces/${workspace}/files/content?path=app.py`, FILES['app.py']);
}
