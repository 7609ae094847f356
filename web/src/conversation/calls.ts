// The calls to sessions, each as one function.

import { del, get, part, patch, post, raw, saveAs } from '$lib/api';
import { randomId } from '$lib/random';
import type { Approval } from '$lib/types';
import type { AgentInfo, AgentSession, Mode, ModelInfo, NewSession, SharedLink } from './types';

export const pathOf = (id: string) => `/sessions/${part(id)}`;

export interface Offers {
  agents: AgentInfo[];
  models: ModelInfo[];
  /** Whether a session may work in a directory of the server. */
  host_directories: boolean;
}

/** The agents that a session can be begun with, and the models that they can use. */
export const offers = () => get<Offers>('/agents/definitions');

// Pressed twice, or sent twice by a flaky network: one session.
export const create = (wanted: NewSession) => post<AgentSession>('/sessions', wanted, { headers: { 'idempotency-key': randomId() } });

export const find = (id: string) => get<AgentSession>(pathOf(id));

export interface Wanted {
  state?: string;
  agent?: string;
  workspace_id?: string;
  search?: string;
  archived?: boolean;
  cursor?: string;
  limit?: number;
}

export const list = (wanted: Wanted) => get<{ sessions: AgentSession[]; next_cursor?: string }>('/sessions', { query: { ...wanted } });

export const prompt = (id: string, text: string) => post<{ prompt_id: string; position: number }>(`${pathOf(id)}/prompts`, { text });
export const takeBack = (id: string, promptId: string) => del<unknown>(`${pathOf(id)}/prompts/${part(promptId)}`);

/** Ends the turn in flight. */
export const cancel = (id: string) => post<unknown>(`${pathOf(id)}/cancel`);
/** Ends the turn in flight and drops what waits. */
export const interrupt = (id: string) => post<unknown>(`${pathOf(id)}/interrupt`);
export const kill = (id: string) => post<AgentSession>(`${pathOf(id)}/kill`, {});
export const resume = (id: string) => post<AgentSession>(`${pathOf(id)}/resume`);
export const fork = (id: string, at?: number) => post<AgentSession>(`${pathOf(id)}/fork`, at === undefined ? {} : { at });
export const change = (id: string, fields: { title?: string; archived?: boolean; model?: string; mode?: Mode }) => patch<AgentSession>(pathOf(id), fields);
export const revoke = (id: string, tool: string, kind: string) => del<AgentSession>(`${pathOf(id)}/grants`, { query: { tool, kind } });

export interface Answer {
  approval_id: string;
  reason?: string;
  /** Such acts are not asked about again in this session. */
  remember?: boolean;
}

export const answer = (id: string, yes: boolean, words: Answer) => post<Approval>(`${pathOf(id)}/${yes ? 'approve' : 'reject'}`, words);

export const share = (id: string, lastingMs: number) => post<SharedLink>(`${pathOf(id)}/share`, { lasting_ms: lastingMs });
export const unshare = (id: string) => del<{ revoked: number }>(`${pathOf(id)}/share`);

/** The whole of a result that was too long for its event. */
export async function wholeText(base: string, digest: string): Promise<string> {
  return (await raw(`${base}/texts/${part(digest)}`)).text();
}

export async function download(session: AgentSession, format: 'markdown' | 'jsonl'): Promise<void> {
  const response = await raw(`${pathOf(session.id)}/export`, { query: { format } });
  const name = session.title.replace(/[^\p{L}\p{N}.-]+/gu, '-').replace(/^-|-$/g, '').slice(0, 60) || session.id;
  saveAs(await response.blob(), `${name}.${format === 'markdown' ? 'md' : 'jsonl'}`);
}
