// Differences between two texts, line by line; how to take one part of a change back, and how to make only some of them.

export interface DiffLine {
  kind: 'same' | 'added' | 'removed';
  text: string;
  /** Numbers of the line, from 1; absent on the side that does not have it. */
  before?: number;
  after?: number;
}

export interface Hunk {
  lines: DiffLine[];
  /** Where it begins on either side, from 1. */
  before: number;
  after: number;
}

/** How many lines around a change are shown with it. */
const AROUND = 3;
/** Beyond so many edits a whole block counts as changed: looking further would make the page wait. */
const EDITS_MAX = 1500;

/** The lines of a text; the empty one after a final line end does not count. */
export function linesOf(text: string): string[] {
  if (text === '') return [];
  const lines = text.split('\n');
  if (lines[lines.length - 1] === '') lines.pop();
  return lines;
}

/** Every line of both texts in the order in which one reads a change. */
export function compare(before: string, after: string): DiffLine[] {
  const a = linesOf(before);
  const b = linesOf(after);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const lines: DiffLine[] = [];
  let [x, y] = [0, 0];
  const same = () => lines.push({ kind: 'same', text: a[x] ?? '', before: ++x, after: ++y });
  while (x < start) same();
  for (const step of steps(a.slice(start, a.length - end), b.slice(start, b.length - end))) {
    if (step === 'same') same();
    else if (step === 'removed') lines.push({ kind: 'removed', text: a[x] ?? '', before: ++x });
    else lines.push({ kind: 'added', text: b[y] ?? '', after: ++y });
  }
  while (x < a.length) same();
  return lines;
}

/** The shortest way from one list of lines to the other (Myers, 1986). */
function steps(a: string[], b: string[]): DiffLine['kind'][] {
  const most = a.length + b.length;
  const whole = () => [...a.map(() => 'removed' as const), ...b.map(() => 'added' as const)];
  if (a.length === 0 || b.length === 0) return whole();
  const reached = new Map<number, number>([[1, 0]]);
  const trace: Map<number, number>[] = [];
  for (let edits = 0; edits <= Math.min(most, EDITS_MAX); edits++) {
    trace.push(new Map(reached));
    for (let k = -edits; k <= edits; k += 2) {
      const down = k === -edits || (k !== edits && (reached.get(k - 1) ?? -1) < (reached.get(k + 1) ?? -1));
      let x = down ? (reached.get(k + 1) ?? 0) : (reached.get(k - 1) ?? 0) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
      reached.set(k, x);
      if (x >= a.length && x - k >= b.length) return back(trace, a.length, b.length);
    }
  }
  return whole();
}

function back(trace: Map<number, number>[], width: number, height: number): DiffLine['kind'][] {
  const way: DiffLine['kind'][] = [];
  let [x, y] = [width, height];
  for (let edits = trace.length - 1; edits >= 0; edits--) {
    const reached = trace[edits] ?? new Map<number, number>();
    const k = x - y;
    const down = k === -edits || (k !== edits && (reached.get(k - 1) ?? -1) < (reached.get(k + 1) ?? -1));
    const fromK = down ? k + 1 : k - 1;
    const fromX = reached.get(fromK) ?? 0;
    const fromY = fromX - fromK;
    while (x > fromX && y > fromY) {
      way.push('same');
      x--;
      y--;
    }
    if (edits > 0) way.push(down ? 'added' : 'removed');
    [x, y] = [fromX, fromY];
  }
  return way.reverse();
}

/** The changed parts, each with the lines around it. */
export function hunksOf(lines: DiffLine[]): Hunk[] {
  const hunks: Hunk[] = [];
  let from = 0;
  while (from < lines.length) {
    const first = lines.findIndex((line, at) => at >= from && line.kind !== 'same');
    if (first < 0) break;
    let last = first;
    for (let at = first; at < lines.length && at <= last + 2 * AROUND + 1; at++) if (lines[at]?.kind !== 'same') last = at;
    const begin = Math.max(from, first - AROUND);
    const part = lines.slice(begin, last + AROUND + 1);
    const numberOf = (side: 'before' | 'after') => part.find((line) => line[side] !== undefined)?.[side] ?? 1;
    hunks.push({ lines: part, before: numberOf('before'), after: numberOf('after') });
    from = last + AROUND + 1;
  }
  return hunks;
}

/** How many lines came and went. */
export function counted(lines: DiffLine[]): { added: number; removed: number } {
  const of = (kind: DiffLine['kind']) => lines.filter((line) => line.kind === kind).length;
  return { added: of('added'), removed: of('removed') };
}

/**
 * The text without one part of a change: the lines that it brought become those that were there. It is looked for where it
 * was, then nearer and farther; nothing when the text has moved on there.
 */
export function without(text: string, hunk: Hunk): string | null {
  const lines = text.split('\n');
  const brought = hunk.lines.filter((line) => line.kind !== 'removed').map((line) => line.text);
  const were = hunk.lines.filter((line) => line.kind !== 'added').map((line) => line.text);
  const fits = (at: number) => at >= 0 && at + brought.length <= lines.length && brought.every((line, index) => lines[at + index] === line);
  const here = hunk.after - 1;
  for (let away = 0; away <= lines.length; away++) {
    const at = fits(here - away) ? here - away : fits(here + away) ? here + away : -1;
    if (at >= 0) return [...lines.slice(0, at), ...were, ...lines.slice(at + brought.length)].join('\n');
  }
  return null;
}

/**
 * The text after a change of which only some parts are wanted, counted as `hunksOf` lists them. Whether the last line has an
 * end comes with the last part.
 */
export function withParts(before: string, after: string, wanted: ReadonlySet<number>): string {
  const lines = compare(before, after);
  const hunks = hunksOf(lines);
  if (hunks.every((_, index) => wanted.has(index))) return after;
  const left = new Set(hunks.flatMap((hunk, index) => (wanted.has(index) ? [] : hunk.lines)));
  const kept = lines.filter((line) => line.kind === 'same' || (line.kind === 'added') !== left.has(line));
  const end = wanted.has(hunks.length - 1) ? after : before;
  return kept.map(({ text }) => text).join('\n') + (kept.length > 0 && end.endsWith('\n') ? '\n' : '');
}

/** The number of the first line that a part changes, in the text after it. */
export function placeOf(hunk: Hunk): number {
  return hunk.after + hunk.lines.findIndex(({ kind }) => kind !== 'same');
}
