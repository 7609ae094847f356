// What can be done with a session, with what is told to whoever did it.

import { part } from '$lib/api';
import { router } from '$lib/router.svelte';
import { confirm, separator, toasts, type MenuEntry } from '$lib/ui';
import * as calls from '../../conversation/calls';
import type { AgentSession } from '../../conversation/types';
import { sessions } from './store.svelte';

export const addressOf = (id: string) => `/sessions/${part(id)}`;

async function act(work: Promise<AgentSession>, failure: string): Promise<AgentSession | null> {
  try {
    const after = await work;
    sessions.put(after);
    return after;
  } catch (error) {
    toasts.bad(failure, error);
    return null;
  }
}

export const resume = (one: AgentSession) => act(calls.resume(one.id), `“${one.title}” could not be resumed`);
export const rename = (one: AgentSession, title: string) => calls.change(one.id, { title }).then((after) => sessions.put(after));

export async function archive(one: AgentSession, archived: boolean): Promise<void> {
  const after = await act(calls.change(one.id, { archived }), `“${one.title}” could not be ${archived ? 'put away' : 'taken out'}`);
  if (!after) return;
  if (archived) toasts.good(`“${one.title}” is in the archive`, { action: { label: 'Undo', run: () => void archive(after, false) } });
  else toasts.good(`“${one.title}” is out of the archive`);
}

export async function fork(one: AgentSession, at?: number): Promise<void> {
  const made = await act(calls.fork(one.id, at), 'It could not be forked');
  if (!made) return;
  toasts.good('Forked. What is said here stays here.');
  router.go(addressOf(made.id));
}

export async function end(one: AgentSession): Promise<void> {
  const working = one.state === 'running' || one.state === 'waiting';
  const sure = await confirm({
    title: `End “${one.title}”?`,
    text: `${working ? 'What the agent does is stopped, and prompts that wait are dropped. ' : ''}Everything that was said stays, and the session can be resumed.`,
    yes: 'End',
    danger: true,
  });
  if (sure) await act(calls.kill(one.id), `“${one.title}” could not be ended`);
}

async function download(one: AgentSession, format: 'markdown' | 'jsonl'): Promise<void> {
  try {
    await calls.download(one, format);
  } catch (error) {
    toasts.bad('It could not be exported', error);
  }
}

export interface Asking {
  rename: (one: AgentSession) => void;
  share: (one: AgentSession) => void;
}

/** What can be done with a session in its present state, as a menu. */
export function menuOf(one: AgentSession, ask: Asking): MenuEntry[] {
  const over = one.state === 'closed' || one.state === 'failed';
  return [
    one.workspace_id ? { label: 'Open in the IDE', icon: 'edit', run: () => router.go(`/workspaces/${part(one.workspace_id ?? '')}?chat=${part(one.id)}`) } : null,
    { label: 'Rename…', icon: 'edit', run: () => ask.rename(one) },
    { label: 'Fork', icon: 'fork', hint: 'A new session that begins with all that was said here', run: () => void fork(one) },
    { label: 'Share a link to read…', icon: 'share', run: () => ask.share(one) },
    separator,
    { label: 'Export as Markdown', icon: 'download', run: () => void download(one, 'markdown') },
    { label: 'Export the events', icon: 'download', run: () => void download(one, 'jsonl') },
    separator,
    over && { label: 'Resume', icon: 'play', run: () => void resume(one) },
    { label: one.archived ? 'Take out of the archive' : 'Put into the archive', icon: one.archived ? 'restore' : 'archive', run: () => void archive(one, !one.archived) },
    one.state !== 'closed' && { label: 'End…', icon: 'stop', danger: true, run: () => void end(one) },
  ];
}
