// Events as what a person reads: one list of items in the order in which they happened, and what waits. Pure, so that the
// same events give the same list after a reload, in a second browser, and in a shared link.

import type { FileDiff, Mode, PlanEntry, SessionEvent, SessionState, Usage } from './types';
import { endWords, grantWords, modeWord, type Tone } from './words';
import { plural } from '$lib/words';

interface Base {
  /** Stays the same as long as the item is shown. */
  key: string;
  /** The newest event that it tells of: a fork goes from here. */
  seq: number;
  at: string;
}

export interface PromptItem extends Base {
  what: 'prompt';
  promptId: string;
  text: string;
  by: string;
}
export interface MessageItem extends Base {
  what: 'message';
  text: string;
  /** More is to come. */
  open: boolean;
  /** Sentences that no record shows. */
  unproven: { claim: string; reason: string; record?: string }[];
}
export interface ThoughtItem extends Base {
  what: 'thought';
  text: string;
  open: boolean;
}
export interface Waiting {
  approvalId: string;
  question: string;
}
export interface Answered {
  approvalId: string;
  status: string;
  by: string;
  reason: string;
}
export interface ToolItem extends Base {
  what: 'tool';
  callId: string;
  tool: string;
  title: string;
  kind: string;
  arguments: unknown;
  progress: string;
  waiting: Waiting | null;
  answers: Answered[];
  finished: { error: boolean; content: string; whole?: string; record?: string; diffs: FileDiff[]; at: string } | null;
  /** Its turn ended before it did. */
  broken: boolean;
}
export interface PlanItem extends Base {
  what: 'plan';
  entries: PlanEntry[];
}
export interface NoteItem extends Base {
  what: 'note';
  tone: Tone;
  text: string;
  /** What a turn cost, at its end. */
  usage?: Usage;
}
export type Item = PromptItem | MessageItem | ThoughtItem | ToolItem | PlanItem | NoteItem;

export interface QueuedPrompt {
  id: string;
  text: string;
  by: string;
}

export class Fold {
  items: Item[] = [];
  queue: QueuedPrompt[] = [];
  commands: [string, string][] = [];
  /** What the newest event says that the session is doing; nothing while no event says so. */
  state: SessionState | null = null;
  mode: Mode | null = null;
  turn = 0;
  turnBegan = '';
  lastSeq = 0;
  #tools = new Map<string, number>();
  #plan = new Map<number, number>();

  take(event: SessionEvent): void {
    if (event.seq <= this.lastSeq) return;
    this.lastSeq = event.seq;
    switch (event.event) {
      case 'prompt':
        this.queue = [...this.queue, { id: event.prompt_id, text: event.text, by: event.by }];
        break;
      case 'prompt_dropped':
        this.queue = this.queue.filter(({ id }) => id !== event.prompt_id);
        break;
      case 'turn_started':
        this.#begin(event);
        break;
      case 'delta':
        this.#grow('message', event.text, event);
        break;
      case 'thought':
        this.#grow('thought', event.text, event);
        break;
      case 'message':
        this.#said(event.text, event);
        break;
      case 'model_retrying':
        this.#void();
        this.#note(event, 'amber', `The model is asked again (attempt ${event.attempt}): ${event.reason}`);
        break;
      case 'context_trimmed':
        this.#note(event, 'neutral', trimmed(event.results, event.messages));
        break;
      case 'tool_called':
        this.#called(event);
        break;
      case 'tool_progress':
        this.#tool(event, (tool) => ({ ...tool, progress: joined(tool.progress, event.content) }));
        break;
      case 'tool_waiting':
        this.state = 'waiting';
        this.#tool(event, (tool) => ({ ...tool, waiting: { approvalId: event.approval_id, question: event.question } }));
        break;
      case 'tool_answered':
        this.#tool(event, (tool) => ({
          ...tool,
          waiting: tool.waiting?.approvalId === event.approval_id ? null : tool.waiting,
          answers: [...tool.answers, { approvalId: event.approval_id, status: event.status, by: event.by ?? '', reason: event.reason ?? '' }],
        }));
        if (!this.items.some((item) => item.what === 'tool' && item.waiting)) this.state = 'running';
        break;
      case 'tool_finished': {
        const finished = { error: event.is_error, content: event.content, whole: event.whole, record: event.record, diffs: (event.diffs ?? []).map(named), at: event.at };
        this.#tool(event, (tool) => ({ ...tool, waiting: null, finished }));
        break;
      }
      case 'plan':
        this.#planned(event);
        break;
      case 'commands':
        this.commands = event.commands;
        break;
      case 'mode':
        this.mode = event.mode as Mode;
        this.#note(event, 'neutral', `From here on: ${modeWord(event.mode).toLowerCase()}.`);
        break;
      case 'model':
        // An external agent that starts says which models it offers; only a choice is worth a line.
        if (!event.offered?.length) this.#note(event, 'neutral', event.model ? `From here on ${event.model} answers.` : 'From here on the usual model answers.');
        break;
      case 'claim_unproven':
        this.#unproven(event);
        break;
      case 'granted': {
        const what = `“${grantWords(event.grant)}”`;
        this.#note(event, 'neutral', event.revoked ? `${what} is asked about again.` : `${what} is allowed for as long as this session lasts.`);
        break;
      }
      case 'warning':
        this.#note(event, 'amber', event.message);
        break;
      case 'turn_ended':
        this.#end(event);
        break;
      case 'closed':
        this.state = 'closed';
        this.#note(event, 'neutral', event.reason ? `The session was ended: ${event.reason}` : 'The session was ended.');
        break;
      case 'resumed':
        this.state = 'idle';
        this.#note(event, 'neutral', 'The session was taken up again.');
        break;
      case 'created':
        // Of a fork: what stands above belongs to the session that it was forked from.
        if (event.parent && event.seq > 1) this.#note(event, 'accent', 'Forked here. What stands above was said in the other session.');
        break;
    }
  }

  #push(item: Item): number {
    this.items.push(item);
    return this.items.length - 1;
  }

  #note(event: SessionEvent, tone: Tone, text: string, usage?: Usage): void {
    this.#push({ what: 'note', key: `n${event.seq}`, seq: event.seq, at: event.at, tone, text, usage });
  }

  #begin(event: SessionEvent & { event: 'turn_started' }): void {
    this.state = 'running';
    this.turn = event.turn;
    this.turnBegan = event.at;
    const prompt = this.queue.find(({ id }) => id === event.prompt_id);
    this.queue = this.queue.filter(({ id }) => id !== event.prompt_id);
    if (prompt) this.#push({ what: 'prompt', key: `p${event.prompt_id}`, seq: event.seq, at: event.at, promptId: prompt.id, text: prompt.text, by: prompt.by });
  }

  /** The item of this kind that is still being said, if nothing but thoughts and words came after it. */
  #open(what: 'message' | 'thought'): number {
    for (let at = this.items.length - 1; at >= 0; at--) {
      const item = this.items[at];
      if (item && item.what === what && item.open) return at;
      if (item && item.what !== 'message' && item.what !== 'thought') return -1;
    }
    return -1;
  }

  #grow(what: 'message' | 'thought', text: string, event: SessionEvent): void {
    if (what === 'message') this.#close('thought');
    const at = this.#open(what);
    const item = this.items[at];
    if (item && (item.what === 'message' || item.what === 'thought')) {
      this.items[at] = { ...item, text: item.text + text, seq: event.seq };
    } else if (what === 'message') {
      this.#push({ what, key: `m${event.seq}`, seq: event.seq, at: event.at, text, open: true, unproven: [] });
    } else {
      this.#push({ what, key: `t${event.seq}`, seq: event.seq, at: event.at, text, open: true });
    }
  }

  /** The whole of what came in pieces. A call may have begun meanwhile: the pieces stand before it. */
  #said(text: string, event: SessionEvent): void {
    for (let at = this.items.length - 1; at >= 0; at--) {
      const item = this.items[at];
      if (item?.what === 'prompt') break;
      if (item?.what === 'message' && item.open) {
        this.items[at] = { ...item, text, seq: event.seq, open: false };
        return;
      }
    }
    this.#close('thought');
    this.#push({ what: 'message', key: `m${event.seq}`, seq: event.seq, at: event.at, text, open: false, unproven: [] });
  }

  #close(what: 'message' | 'thought'): void {
    for (let at = this.items.length - 1; at >= 0; at--) {
      const item = this.items[at];
      if (item?.what === 'prompt') return;
      if (item && item.what === what && item.open) this.items[at] = { ...item, open: false };
    }
  }

  /** What came of an answer that broke off does not count. */
  #void(): void {
    this.items = this.items.filter((item) => !((item.what === 'message' || item.what === 'thought') && item.open));
    this.#tools = new Map(this.items.flatMap((item, at) => (item.what === 'tool' ? [[item.callId, at] as const] : [])));
    this.#plan = new Map([...this.#plan.keys()].map((turn) => [turn, this.items.findIndex(({ key }) => key === `plan${turn}`)]));
  }

  #called(event: SessionEvent & { event: 'tool_called' }): void {
    this.#close('thought');
    const known = this.items[this.#tools.get(event.call_id) ?? -1];
    // An agent may say more of a call later on: what it does, and with what.
    if (known?.what === 'tool' && !known.finished && !known.broken) {
      const { title, kind, tool } = event;
      this.items[this.items.indexOf(known)] = { ...known, seq: event.seq, title, kind, tool, arguments: event.arguments };
      return;
    }
    const at = this.#push({
      what: 'tool',
      key: `c${event.seq}`,
      seq: event.seq,
      at: event.at,
      callId: event.call_id,
      tool: event.tool,
      title: event.title,
      kind: event.kind,
      arguments: event.arguments,
      progress: '',
      waiting: null,
      answers: [],
      finished: null,
      broken: false,
    });
    this.#tools.set(event.call_id, at);
  }

  /** Changes a call. One whose beginning is not among the events that were read stands for itself. */
  #tool(event: SessionEvent & { call_id: string }, how: (tool: ToolItem) => ToolItem): void {
    let at = this.#tools.get(event.call_id);
    if (at === undefined) {
      const title = event.event === 'tool_waiting' ? event.question : 'A tool was used';
      this.#called({ ...event, event: 'tool_called', turn: this.turn, tool: '', title, kind: 'other', arguments: {} });
      at = this.#tools.get(event.call_id) ?? -1;
    }
    const tool = this.items[at];
    if (tool?.what === 'tool') this.items[at] = { ...how(tool), seq: event.seq };
  }

  #planned(event: SessionEvent & { event: 'plan' }): void {
    const at = this.#plan.get(event.turn) ?? -1;
    const item: PlanItem = { what: 'plan', key: `plan${event.turn}`, seq: event.seq, at: event.at, entries: event.entries };
    if (this.items[at]?.what === 'plan') this.items[at] = item;
    else this.#plan.set(event.turn, this.#push(item));
  }

  #unproven(event: SessionEvent & { event: 'claim_unproven' }): void {
    for (let at = this.items.length - 1; at >= 0; at--) {
      const item = this.items[at];
      if (item?.what !== 'message') continue;
      this.items[at] = { ...item, seq: event.seq, unproven: [...item.unproven, { claim: event.claim, reason: event.reason, record: event.record }] };
      return;
    }
    this.#note(event, 'red', `No record shows this: “${event.claim}” ${event.reason}`);
  }

  #end(event: SessionEvent & { event: 'turn_ended' }): void {
    this.state = event.end === 'failed' ? 'failed' : 'idle';
    this.#close('message');
    this.#close('thought');
    for (const [at, item] of this.items.entries()) {
      if (item.what === 'tool' && !item.finished && !item.broken) this.items[at] = { ...item, waiting: null, broken: true };
    }
    const words = endWords(event.end, event.reason ?? '');
    this.#note(event, words?.tone ?? 'neutral', words?.text ?? '', event.usage);
  }
}

/** A file as people name it, below the workspace. */
const named = (diff: FileDiff): FileDiff => ({ ...diff, path: diff.path.replace(/^\/workspace\//, '') });

/** External agents send the whole of a call's content again and again, or a part at a time. */
function joined(before: string, more: string): string {
  if (!before || more.startsWith(before)) return more;
  return `${before}\n${more}`.slice(-20_000);
}

function trimmed(results: number, messages: number): string {
  const parts = [results ? `${plural(results, 'older result')} shortened` : '', messages ? `${plural(messages, 'older message')} left out` : ''];
  return `To fit the model, ${parts.filter(Boolean).join(' and ')}.`;
}

/** What became of each file: from before its first change to after its last, newest last. */
export function filesOf(items: readonly Item[]): FileDiff[] {
  const files = new Map<string, FileDiff>();
  for (const item of items) {
    if (item.what !== 'tool' || !item.finished) continue;
    for (const diff of item.finished.diffs) {
      const known = files.get(diff.path);
      files.delete(diff.path);
      files.set(diff.path, known ? { path: diff.path, old: known.old, new: diff.new } : diff);
    }
  }
  return [...files.values()].filter((file) => file.old !== file.new);
}
