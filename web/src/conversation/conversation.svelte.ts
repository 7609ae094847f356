// One session, followed: its record and its events, from wherever they were left. A lost connection goes on after the newest
// event that came; a session of many thousand events begins with the newest, and the earlier ones come when asked for.

import { ApiError, follow, get } from '$lib/api';
import { Fold, type Item, type QueuedPrompt } from './fold';
import type { AgentSession, Mode, SessionEvent, SessionState, StreamFrame, Usage } from './types';

/** Events that are read at first, and at each look further back. */
const WINDOW = 1500;

export class Conversation {
  record = $state.raw<AgentSession | null>(null);
  items = $state.raw<readonly Item[]>([]);
  queue = $state.raw<readonly QueuedPrompt[]>([]);
  commands = $state.raw<readonly [string, string][]>([]);
  /** Everything up to the moment of opening has been read. */
  loaded = $state(false);
  error = $state.raw<unknown>(null);
  link = $state<'opening' | 'live' | 'lost'>('opening');
  /** Events up to this one have not been read. */
  before = $state(0);
  readingBack = $state(false);
  #state = $state<SessionState | null>(null);
  #turnBegan = $state('');
  #fold = new Fold();
  #events: SessionEvent[] = [];
  #fresh: SessionEvent[] = [];
  #target = 0;
  #stop: (() => void) | null = null;
  #ended = false;
  #draw: { cancel: () => void } | null = null;

  /** `base`: where the session is, `/sessions/ses_…` or `/shared/sessions/TOKEN`. */
  constructor(readonly base: string) {}

  get state(): SessionState {
    return this.#state ?? this.record?.state ?? 'idle';
  }

  /** Whether a turn is in flight. */
  get inTurn(): boolean {
    return this.state === 'running' || this.state === 'waiting';
  }

  /** When the turn in flight began. */
  get turnBegan(): string {
    return this.#turnBegan || this.record?.updated_at || '';
  }

  /** Begins to follow. Returns how to stop. */
  follow(): () => void {
    void this.open();
    return () => {
      this.#ended = true;
      this.#stop?.();
      this.#draw?.cancel();
    };
  }

  async open(): Promise<void> {
    this.error = null;
    this.#stop?.();
    try {
      const record = await get<AgentSession>(this.base);
      if (this.#ended) return;
      this.record = record;
      this.#target = record.last_seq;
      this.before = Math.max(0, record.last_seq - WINDOW);
      this.loaded = record.last_seq === 0;
      this.#stop = follow<StreamFrame>(`${this.base}/events`, {
        query: { after: this.before },
        onOpen: () => (this.link = 'live'),
        onData: (frame) => this.#told(frame),
        onBroken: (error) => {
          this.link = 'lost';
          if (error instanceof ApiError && [403, 404].includes(error.status)) this.error = error;
        },
      });
    } catch (error) {
      this.error = error;
    }
  }

  /** Takes a record that the server gave: after a change, it knows more than the events said. */
  put(record: AgentSession): void {
    if (record.last_seq >= (this.record?.last_seq ?? 0)) this.record = record;
  }

  async readBack(): Promise<void> {
    if (this.readingBack || this.before === 0) return;
    this.readingBack = true;
    try {
      const from = Math.max(0, this.before - WINDOW);
      const earlier: SessionEvent[] = [];
      for (let after = from; after < this.before; ) {
        const query = { after, limit: Math.min(1000, this.before - after) };
        const { events } = await get<{ events: SessionEvent[] }>(`${this.base}/events`, { query });
        const last = events[events.length - 1];
        if (!last) break;
        earlier.push(...events.filter(({ seq }) => seq <= this.before));
        after = last.seq;
      }
      this.before = from;
      this.#events = [...earlier, ...this.#events];
      this.#fold = new Fold();
      for (const event of this.#events) this.#fold.take(event);
      this.#show();
    } finally {
      this.readingBack = false;
    }
  }

  #told(frame: StreamFrame): void {
    if (frame.event === 'connected') {
      this.#target = Math.max(this.#target, frame.last_seq);
      if (this.#fold.lastSeq >= this.#target || this.#target <= this.before) this.loaded = true;
      return;
    }
    if (frame.event === 'shutdown') {
      this.link = 'lost';
      return;
    }
    this.#fresh.push(frame);
    this.#soon();
  }

  /** Many events of one moment are drawn once. */
  #soon(): void {
    if (this.#draw) return;
    const draw = () => {
      this.#draw = null;
      for (const event of this.#fresh.splice(0)) this.#take(event);
      this.#show();
      if (this.#fold.lastSeq >= this.#target) this.loaded = true;
    };
    // A page that is not seen draws no frames.
    if (document.hidden) {
      const timer = setTimeout(draw, 100);
      this.#draw = { cancel: () => clearTimeout(timer) };
    } else {
      const frame = requestAnimationFrame(draw);
      const late = setTimeout(() => {
        cancelAnimationFrame(frame);
        if (this.#draw) draw();
      }, 250);
      this.#draw = { cancel: () => (cancelAnimationFrame(frame), clearTimeout(late)) };
    }
  }

  #take(event: SessionEvent): void {
    if (event.seq <= this.#fold.lastSeq) return;
    this.#events.push(event);
    this.#fold.take(event);
    if (this.record && event.seq > this.record.last_seq) this.record = changed(this.record, event);
  }

  #show(): void {
    this.items = [...this.#fold.items];
    this.queue = this.#fold.queue;
    this.commands = this.#fold.commands;
    this.#state = this.#fold.state;
    this.#turnBegan = this.#fold.turnBegan;
  }
}

/** What an event changes in what is known of its session. */
function changed(record: AgentSession, event: SessionEvent): AgentSession {
  const next = { ...record, last_seq: event.seq, updated_at: event.at };
  const waiting = record.waiting_for ?? [];
  switch (event.event) {
    case 'prompt':
      return { ...next, queued: record.queued + 1, title: record.turns === 0 && record.title === 'New session' ? firstLine(event.text) : record.title };
    case 'prompt_dropped':
      return { ...next, queued: Math.max(0, record.queued - 1) };
    case 'turn_started':
      return { ...next, queued: Math.max(0, record.queued - 1), turns: event.turn, state: 'running', reason: '' };
    case 'tool_waiting':
      return { ...next, state: 'waiting', waiting_for: [...waiting, event.approval_id] };
    case 'tool_answered': {
      const left = waiting.filter((id) => id !== event.approval_id);
      return { ...next, waiting_for: left, state: left.length === 0 && record.state === 'waiting' ? 'running' : record.state };
    }
    case 'model_replied':
      return { ...next, usage: sum(record.usage, event.reply.usage) };
    case 'turn_ended':
      return {
        ...next,
        waiting_for: [],
        state: event.end === 'failed' ? 'failed' : 'idle',
        reason: event.end === 'failed' ? event.reason : '',
      };
    case 'mode':
      return { ...next, mode: event.mode as Mode };
    case 'model':
      return { ...next, model: event.model };
    case 'granted': {
      const others = (record.grants ?? []).filter(({ tool, kind }) => tool !== event.grant.tool || kind !== event.grant.kind);
      return { ...next, grants: event.revoked ? others : [...others, event.grant] };
    }
    case 'renamed':
      return { ...next, title: event.title };
    case 'archived':
      return { ...next, archived: event.archived };
    case 'closed':
      return { ...next, state: 'closed', reason: event.reason };
    case 'resumed':
      return { ...next, state: 'idle', reason: '' };
    default:
      return next;
  }
}

function firstLine(text: string): string {
  return (text.split('\n').find((line) => line.trim()) ?? '').trim().slice(0, 80);
}

function sum(a: Usage, b: Usage): Usage {
  const both = a.cost_micro_usd === undefined && b.cost_micro_usd === undefined;
  return {
    input_tokens: a.input_tokens + b.input_tokens,
    output_tokens: a.output_tokens + b.output_tokens,
    cache_read_tokens: a.cache_read_tokens + b.cache_read_tokens,
    cache_write_tokens: a.cache_write_tokens + b.cache_write_tokens,
    cost_micro_usd: both ? undefined : (a.cost_micro_usd ?? 0) + (b.cost_micro_usd ?? 0),
  };
}
