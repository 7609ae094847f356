// A proposed change of which a person took some parts: what the agent is told, and what is remembered of it. The server knows
// such a question as refused, with the reason below; the lines that were taken are kept by the browser that took them.

import { list } from '$lib/words';
import { compare, hunksOf, placeOf } from './diff';
import type { Answered } from './fold';
import type { FileDiff } from './types';

const OPENING = 'I applied part of this change to ';
const KEPT = 'reeve-applied';
const KEPT_MAX = 20;
/** Beyond so many parts their number is said, not their lines. */
const LINES_MAX = 20;
const KEPT_SIGNS_MAX = 200_000;

/** What the agent reads instead of a plain no. */
export function toldAgent(applied: FileDiff, typed: string): string {
  const at = hunksOf(compare(applied.old ?? '', applied.new)).map((hunk) => String(placeOf(hunk)));
  const where = at.length === 1 ? `the part at line ${at[0]}` : at.length > LINES_MAX ? `${at.length} parts of it` : `the parts at lines ${list(at)}`;
  const why = typed.trim();
  return `${OPENING}${applied.path} myself (${where}); the rest is not wanted${why ? `: ${why}` : '.'}`;
}

/** The answer by which a person took some parts, if there is one. */
export function partlyAnswered(answers: readonly Answered[]): Answered | undefined {
  return answers.find(({ status, reason }) => status !== 'approved' && reason.startsWith(OPENING));
}

type Remembered = [approvalId: string, applied: FileDiff][];

function remembered(): Remembered {
  try {
    const read: unknown = JSON.parse(localStorage.getItem(KEPT) ?? '[]');
    return Array.isArray(read) ? (read as Remembered) : [];
  } catch {
    return [];
  }
}

/** Remembers which lines were taken, so that they can be shown and undone later. */
export function remember(approvalId: string, applied: FileDiff): void {
  const others = remembered().filter(([id]) => id !== approvalId);
  const next: Remembered = [...others, [approvalId, applied] as Remembered[number]].slice(-KEPT_MAX);
  while (next.length > 0 && JSON.stringify(next).length > KEPT_SIGNS_MAX) next.shift();
  try {
    localStorage.setItem(KEPT, JSON.stringify(next));
  } catch {
    // A browser that keeps nothing: the words of the answer say what was taken.
  }
}

/** The lines that were taken, where this browser knows them. */
export function recalled(approvalId: string): FileDiff | undefined {
  return remembered().find(([id]) => id === approvalId)?.[1];
}
