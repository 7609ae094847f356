// Sessions in words.

import type { IconName } from '$lib/ui';
import { toolTitle } from '$lib/words';
import type { AgentSession, Grant, Mode, SessionState, TurnEnd, Usage } from './types';

export type Tone = 'neutral' | 'accent' | 'green' | 'amber' | 'red';

export const states: Record<SessionState, { word: string; tone: Tone; moving?: boolean }> = {
  idle: { word: 'Idle', tone: 'neutral' },
  running: { word: 'Working', tone: 'accent', moving: true },
  waiting: { word: 'Waits for you', tone: 'amber' },
  failed: { word: 'Failed', tone: 'red' },
  closed: { word: 'Ended', tone: 'neutral' },
};

export const modes: Record<Mode, { word: string; text: string }> = {
  ask: { word: 'Ask first', text: 'It asks before it changes a file or runs a program.' },
  accept_edits: { word: 'Edit freely', text: 'It changes files without asking, and asks before it runs a program.' },
  plan: { word: 'Plan only', text: 'It looks and plans; changes and programs are refused.' },
  auto: { word: 'Act freely', text: 'It asks nothing of you; policy alone decides.' },
};

export function modeWord(mode: string): string {
  return modes[mode as Mode]?.word ?? mode;
}

export const kindIcons: Record<string, IconName> = {
  read: 'eye',
  search: 'search',
  edit: 'edit',
  delete: 'trash',
  move: 'arrow-right',
  execute: 'terminal',
  fetch: 'globe',
  think: 'info',
  other: 'settings',
};

/** How a turn ended, where that is worth a line. */
export function endWords(end: TurnEnd, reason: string): { tone: Tone; text: string } | null {
  const more = reason ? `: ${reason}` : '';
  if (end === 'completed') return null;
  if (end === 'cancelled') return { tone: 'neutral', text: `Stopped${more || '.'}` };
  if (end === 'limit_reached') return { tone: 'amber', text: `It stopped at a limit${more || '.'}` };
  if (end === 'refused') return { tone: 'amber', text: `The agent would not go on${more || '.'}` };
  return { tone: 'red', text: `It could not go on${more || '.'}` };
}

const count = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });

/** `12.4K tokens`. */
export function tokens(usage: Usage): string {
  const all = usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
  return `${count.format(all)} tokens`;
}

/** `$0.42`, `$0.0031`; nothing where no price is known. */
export function cost(usage: Usage): string {
  if (usage.cost_micro_usd === undefined) return '';
  const dollars = usage.cost_micro_usd / 1e6;
  return `$${dollars === 0 ? '0' : dollars < 0.01 ? dollars.toPrecision(2) : dollars.toFixed(2)}`;
}

/** The tokens one by one, for whoever wants to know. */
export function usageWords(usage: Usage): string {
  const of = (value: number) => value.toLocaleString();
  const cached = usage.cache_read_tokens + usage.cache_write_tokens;
  return `${of(usage.input_tokens)} read, ${of(usage.output_tokens)} written${cached ? `, ${of(usage.cache_read_tokens)} from the cache, ${of(usage.cache_write_tokens)} into it` : ''}`;
}

/** Why nothing can be said in it now; empty when it can. */
export function cannotPrompt(session: AgentSession): string {
  if (session.state === 'closed') return 'This session was ended. Resume it to go on.';
  if (session.queued >= 32) return 'As many prompts wait as a session may have. Take one back, or wait for an answer.';
  return '';
}

/** A name for whoever did something: `you`, or what they are called. */
export function whose(label: string, me: boolean): string {
  return me ? 'you' : label.replace(/^user:/, '').replace(/^(\w+):/, '$1 ');
}

/** What an agent may do without asking: `Edit file`, `Run command (execute)`. */
export function grantWords(grant: Pick<Grant, 'tool' | 'kind'>): string {
  const what = toolTitle(grant.tool);
  return grant.kind && !what.toLowerCase().includes(grant.kind) ? `${what} (${grant.kind})` : what;
}
