// Everything that can be done by name: rooms register commands, the palette and the keyboard find them.

import { untrack } from 'svelte';

export interface Command {
  /** Unique: `workspaces.create`. */
  id: string;
  title: string;
  /** The heading it stands under. */
  group: string;
  /** `Mod+Shift+P`, `G W` (one after the other), `?`. Mod is Ctrl, or Cmd on a Mac. */
  keys?: string;
  /** More words to find it by. */
  words?: string;
  /** Whether it can be done now. */
  when?: () => boolean;
  /** Whether its keys work while a text field has the focus; with Mod they do anyway. */
  inFields?: boolean;
  /** Hidden in the palette; its keys work. */
  hidden?: boolean;
  run: () => void;
}

export const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

class Commands {
  #all = $state.raw<Command[]>([]);
  #begun: { keys: string; at: number } | null = null;
  paletteOpen = $state(false);
  /** What the palette opens with: `>` commands; a room may show its own list. */
  paletteText = $state('');

  get all(): Command[] {
    return this.#all;
  }

  /** The commands that can be done now. */
  available(): Command[] {
    return this.#all.filter((command) => !command.when || command.when());
  }

  /** Adds commands; returns how to take them away. A later one beats an earlier one with the same keys. */
  register(...commands: Command[]): () => void {
    const ids = new Set(commands.map((command) => command.id));
    // An effect may register: it must not run again because of the list that it changes.
    untrack(() => (this.#all = [...this.#all.filter((command) => !ids.has(command.id)), ...commands]));
    return () => untrack(() => (this.#all = this.#all.filter((command) => !commands.includes(command))));
  }

  openPalette(text = ''): void {
    this.paletteText = text;
    this.paletteOpen = true;
  }

  /** Runs what the keys are for. Listens on the window, after whatever has the focus. */
  onKey(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.isComposing) return;
    const stroke = strokeOf(event);
    if (!stroke) return;
    const inField = isField(event.target);
    const before = this.#begun && Date.now() - this.#begun.at < 1200 ? this.#begun.keys : null;
    this.#begun = null;
    const fits = (keys: string) =>
      [...this.#all].reverse().find((command) => {
        if (!command.keys || normal(command.keys) !== keys) return false;
        if (inField && !command.inFields && !keys.includes('Mod+')) return false;
        return !command.when || command.when();
      });
    const found = (before && fits(`${before} ${stroke}`)) || fits(stroke);
    if (found) {
      event.preventDefault();
      found.run();
      return;
    }
    const begins = this.#all.some((command) => command.keys && normal(command.keys).startsWith(`${stroke} `));
    if (begins && !inField) this.#begun = { keys: stroke, at: Date.now() };
  }
}

export const commands = new Commands();

function normal(keys: string): string {
  return keys
    .split(' ')
    .map((stroke) => {
      const names = stroke.split('+');
      const key = stroke.endsWith('++') ? '+' : (names.pop() ?? '');
      const has = (name: string) => names.includes(name);
      return (has('Mod') ? 'Mod+' : '') + (has('Alt') ? 'Alt+' : '') + (has('Shift') ? 'Shift+' : '') + key.toUpperCase();
    })
    .join(' ');
}

function strokeOf(event: KeyboardEvent): string | null {
  if (['Control', 'Shift', 'Alt', 'Meta'].includes(event.key)) return null;
  const mod = isMac ? event.metaKey : event.ctrlKey;
  // A sign that is typed with Shift is itself; a letter keeps the Shift.
  const shift = event.shiftKey && (event.key.length > 1 || /[a-z]/i.test(event.key) || mod);
  return (mod ? 'Mod+' : '') + (event.altKey ? 'Alt+' : '') + (shift ? 'Shift+' : '') + event.key.toUpperCase();
}

function isField(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

/** Keys as they are printed on this machine's keyboard. */
export function keysShown(keys: string): string[] {
  const names: Record<string, string> = isMac
    ? { Mod: '⌘', Shift: '⇧', Alt: '⌥' }
    : { Mod: 'Ctrl', Shift: 'Shift', Alt: 'Alt' };
  return keys.split(' ').map((stroke) =>
    stroke
      .replace(/\+\+$/, '+Plus')
      .split('+')
      .map((name) => names[name] ?? (name === 'Plus' ? '+' : name))
      .join(isMac ? '' : '+'),
  );
}

/** How well the letters of a query, in order, fit a text; null when they do not. Higher is better. */
export function fuzzy(query: string, text: string): { score: number; at: number[] } | null {
  const wanted = query.toLowerCase().replace(/\s+/g, '');
  const lower = text.toLowerCase();
  const at: number[] = [];
  let score = 0;
  let from = 0;
  for (const letter of wanted) {
    // Prefer the start of a word over the next place.
    let found = lower.indexOf(letter, from);
    if (found < 0) return null;
    for (let next = found; next >= 0; next = lower.indexOf(letter, next + 1)) {
      const startsWord = next === 0 || /[\s/._:-]/.test(lower[next - 1] ?? '');
      const goesOn = at.length > 0 && next === (at[at.length - 1] ?? -2) + 1;
      if ((startsWord || goesOn) && lower.length - next >= wanted.length - at.length) {
        if (restFits(lower, next + 1, wanted.slice(at.length + 1))) {
          found = next;
          break;
        }
      }
    }
    const previous = at[at.length - 1];
    if (previous !== undefined && found === previous + 1) score += 6;
    if (found === 0 || /[\s/._:-]/.test(lower[found - 1] ?? '')) score += 5;
    score -= Math.min(found - from, 8) * 0.3;
    at.push(found);
    from = found + 1;
  }
  return { score: score - text.length * 0.02, at };
}

function restFits(text: string, from: number, rest: string): boolean {
  for (const letter of rest) {
    const found = text.indexOf(letter, from);
    if (found < 0) return false;
    from = found + 1;
  }
  return true;
}
