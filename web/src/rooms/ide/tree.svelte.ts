// The tree of files, loaded directory by directory, as the rows that are to be seen.

import { words } from '$lib/api';
import type { FileEntry } from '$lib/types';
import type { WorkspaceFiles } from './files';
import { isWithin, keyOf, parentOf } from './paths';

interface Directory {
  entries: FileEntry[];
  next?: string;
  problem?: string;
}

export type Row =
  | { kind: 'entry'; key: string; depth: number; entry: FileEntry; open: boolean; directory: boolean }
  | { kind: 'more'; key: string; depth: number; dir: string }
  | { kind: 'problem'; key: string; depth: number; dir: string; text: string };

export class Tree {
  #dirs = $state.raw(new Map<string, Directory>());
  expanded = $state.raw(new Set<string>());
  /** Where the keyboard is. */
  selected = $state<string | null>(null);
  /** What is chosen besides it, when more than one is. */
  chosen = $state.raw<ReadonlySet<string>>(new Set());
  loading = $state(true);
  #due = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly files: WorkspaceFiles) {}

  rows = $derived.by(() => {
    const rows: Row[] = [];
    this.#collect('', 0, rows);
    return rows;
  });

  #collect(dir: string, depth: number, rows: Row[]): void {
    const listed = this.#dirs.get(dir);
    if (!listed) return;
    for (const entry of listed.entries) {
      const key = keyOf(entry.path);
      const directory = entry.type === 'directory';
      const open = directory && this.expanded.has(key);
      rows.push({ kind: 'entry', key, depth, entry, open, directory });
      if (open) this.#collect(key, depth + 1, rows);
    }
    if (listed.next) rows.push({ kind: 'more', key: `${dir}\0more`, depth, dir });
    if (listed.problem) rows.push({ kind: 'problem', key: `${dir}\0problem`, depth, dir, text: listed.problem });
  }

  /** Whether it is chosen, alone or among others. */
  has(key: string): boolean {
    return this.chosen.size > 0 ? this.chosen.has(key) : this.selected === key;
  }

  /** Chooses this one and no other. */
  only(key: string): void {
    this.selected = key;
    this.chosen = new Set();
  }

  /** Chooses it too, or no longer. */
  also(key: string): void {
    const chosen = new Set(this.chosen);
    if (chosen.size === 0 && this.selected !== null) chosen.add(this.selected);
    if (!chosen.delete(key)) chosen.add(key);
    this.chosen = chosen;
    this.selected = key;
  }

  /** Chooses all from one to the other, as they stand; the keyboard goes to the other. */
  range(from: string, to: string): void {
    const keys = this.rows.flatMap((row) => (row.kind === 'entry' ? [row.key] : []));
    const [a, b] = [keys.indexOf(from), keys.indexOf(to)];
    if (a < 0 || b < 0) return;
    this.chosen = new Set(keys.slice(Math.min(a, b), Math.max(a, b) + 1));
    this.selected = to;
  }

  /** What an act is done to: all that are chosen, of which none is within another; or this one, when it is not among them. */
  meant(key: string): string[] {
    return this.chosen.has(key) ? this.meantByKeys : [key];
  }

  /** What a key is pressed for: all that are chosen, or where the keyboard is. */
  get meantByKeys(): string[] {
    const keys = [...this.chosen];
    if (keys.length === 0) return this.selected === null ? [] : [this.selected];
    return keys.filter((one) => !keys.some((other) => other !== one && isWithin(one, other)));
  }

  entry(key: string): FileEntry | undefined {
    return this.#dirs.get(parentOf(key))?.entries.find((entry) => keyOf(entry.path) === key);
  }

  names(dir: string): Set<string> {
    return new Set(this.#dirs.get(dir)?.entries.map((entry) => entry.name));
  }

  #set(dir: string, listed: Directory): void {
    this.#dirs = new Map(this.#dirs).set(dir, listed);
  }

  /** Loads a directory, anew as far as it had been loaded. */
  async load(dir: string): Promise<void> {
    const before = this.#dirs.get(dir);
    try {
      let page = await this.files.tree(dir);
      const entries = page.entries;
      while (page.next_cursor && before && entries.length < before.entries.length) {
        page = await this.files.tree(dir, page.next_cursor);
        entries.push(...page.entries);
      }
      this.#set(dir, { entries, next: page.next_cursor });
    } catch (error) {
      this.#set(dir, { entries: before?.entries ?? [], next: before?.next, problem: words(error) });
    } finally {
      if (dir === '') this.loading = false;
    }
  }

  async more(dir: string): Promise<void> {
    const listed = this.#dirs.get(dir);
    if (!listed?.next) return;
    const page = await this.files.tree(dir, listed.next);
    this.#set(dir, { entries: [...listed.entries, ...page.entries], next: page.next_cursor });
  }

  async toggle(key: string, open = !this.expanded.has(key)): Promise<void> {
    const next = new Set(this.expanded);
    if (open) next.add(key);
    else next.delete(key);
    this.expanded = next;
    if (open && !this.#dirs.has(key)) await this.load(key);
  }

  /** Opens every directory above it and selects it. */
  async reveal(key: string): Promise<void> {
    const parents: string[] = [];
    for (let dir = parentOf(key); dir !== ''; dir = parentOf(dir)) parents.unshift(dir);
    for (const dir of parents) await this.toggle(dir, true);
    this.only(key);
  }

  collapse(): void {
    this.expanded = new Set();
  }

  /** Something changed in a directory: looks again soon, once for many changes. */
  touch(dir: string): void {
    if (dir !== '' && !this.#dirs.has(dir)) dir = parentOf(dir);
    if (!this.#dirs.has(dir)) return;
    this.#due.add(dir);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const due = [...this.#due];
      this.#due.clear();
      for (const each of due) void this.load(each);
    }, 120);
  }

  /** Looks at everything again. */
  refresh(): void {
    for (const dir of this.#dirs.keys()) {
      const seen = dir === '' || this.expanded.has(dir);
      if (seen) void this.load(dir);
      else this.#forget(dir);
    }
  }

  gone(key: string): void {
    this.#forget(key);
    if ([...this.chosen].some((one) => isWithin(one, key))) this.chosen = new Set([...this.chosen].filter((one) => !isWithin(one, key)));
    if (this.selected !== null && isWithin(this.selected, key)) this.selected = null;
    this.touch(parentOf(key));
  }

  #forget(dir: string): void {
    const dirs = new Map([...this.#dirs].filter(([key]) => !isWithin(key, dir)));
    if (dirs.size !== this.#dirs.size && dir !== '') this.#dirs = dirs;
  }

  dispose(): void {
    clearTimeout(this.#timer);
  }
}
