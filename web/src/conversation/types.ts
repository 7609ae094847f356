// The shapes of sessions as the server gives them. A session is one conversation with an agent, told by its events.

export type SessionState = 'idle' | 'running' | 'waiting' | 'failed' | 'closed';
export type Mode = 'ask' | 'accept_edits' | 'plan' | 'auto';

export interface Usage {
  input_tokens: number;
  output_tokens: number;
  cache_read_tokens: number;
  cache_write_tokens: number;
  /** Millionths of a US dollar, where the model's price is known. */
  cost_micro_usd?: number;
}

export interface Grant {
  tool: string;
  kind?: string;
  by: string;
  at: string;
}

export interface AgentSession {
  id: string;
  tenant: string;
  owner: string;
  title: string;
  agent: string;
  model?: string;
  workspace_id?: string;
  directory?: string;
  mode: Mode;
  state: SessionState;
  reason?: string;
  queued: number;
  waiting_for?: string[];
  grants?: Grant[];
  parent?: string;
  usage: Usage;
  turns: number;
  archived: boolean;
  last_seq: number;
  created_at: string;
  updated_at: string;
}

export interface FileDiff {
  path: string;
  /** Absent for a new file. */
  old?: string;
  new: string;
}

export interface PlanEntry {
  content: string;
  priority: 'high' | 'medium' | 'low';
  status: 'pending' | 'in_progress' | 'completed';
}

export type TurnEnd = 'completed' | 'cancelled' | 'limit_reached' | 'refused' | 'failed';

export type Happening =
  | { event: 'created'; agent: string; title: string; parent?: string }
  | { event: 'prompt'; prompt_id: string; text: string; by: string }
  | { event: 'prompt_dropped'; prompt_id: string }
  | { event: 'turn_started'; turn: number; prompt_id: string }
  | { event: 'delta'; turn: number; text: string }
  | { event: 'thought'; turn: number; text: string }
  | { event: 'message'; turn: number; text: string }
  | { event: 'model_asked'; turn: number; call: number; digest: string }
  | { event: 'model_retrying'; call: number; attempt: number; reason: string }
  | { event: 'model_replied'; turn: number; call: number; reply: { model: string; usage: Usage } }
  | { event: 'context_trimmed'; turn: number; results: number; messages: number }
  | { event: 'tool_called'; turn: number; call_id: string; tool: string; title: string; kind: string; arguments: unknown; action_id?: string }
  | { event: 'tool_progress'; call_id: string; content: string }
  | { event: 'tool_waiting'; call_id: string; approval_id: string; action_id: string; question: string }
  | { event: 'tool_answered'; call_id: string; approval_id: string; status: string; by?: string; reason?: string }
  | { event: 'tool_finished'; call_id: string; is_error: boolean; content: string; whole?: string; record?: string; diffs?: FileDiff[] }
  | { event: 'plan'; turn: number; entries: PlanEntry[] }
  | { event: 'commands'; commands: [string, string][] }
  | { event: 'mode'; mode: string }
  | { event: 'model'; model: string; offered?: string[] }
  | { event: 'claim_unproven'; turn: number; claim: string; reason: string; stated?: boolean; record?: string }
  | { event: 'granted'; grant: Grant; revoked?: boolean }
  | { event: 'warning'; message: string }
  | { event: 'turn_ended'; turn: number; end: TurnEnd; reason?: string; usage: Usage }
  | { event: 'renamed'; title: string }
  | { event: 'archived'; archived: boolean }
  | { event: 'closed'; by: string; reason: string }
  | { event: 'resumed'; by: string };

export type SessionEvent = Happening & { session_id: string; seq: number; at: string };

/** What the stream says of itself. */
export type StreamFrame = SessionEvent | { event: 'connected'; session_id: string; last_seq: number } | { event: 'shutdown' };

/** What the stream of all sessions says. */
export type SessionsFrame = { event: 'session'; kind: string; session: AgentSession } | { event: 'connected' } | { event: 'resync' } | { event: 'shutdown' };

export interface AgentInfo {
  name: string;
  kind: 'own' | 'external';
  description: string;
  needs_workspace: boolean;
  /** Why it cannot be used now. */
  unavailable?: string;
}

export interface ModelInfo {
  name: string;
  kind: string;
  context_tokens?: number;
  is_default: boolean;
}

export interface NewSession {
  agent?: string;
  title?: string;
  prompt?: string;
  model?: string;
  workspace_id?: string;
  directory?: string;
  /** A directory of the machine that the server runs on, in place of a workspace. */
  work_dir?: string;
  mode?: Mode;
}

export interface SharedLink {
  token: string;
  url?: string;
  expires_at: string;
}
