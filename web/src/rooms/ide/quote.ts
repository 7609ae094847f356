// A piece of an open file as it goes along with a prompt: where it stands, and its words.

import type { Document } from './document.svelte';
import { extensionOf, shown } from './paths';

export interface Quote {
  /** `app.py:10–14`. */
  label: string;
  /** Markdown, to be put before the words of the prompt. */
  text: string;
}

/** Longest piece that goes along; a whole file is read by the agent itself. */
const MOST = 20_000;

/** What is selected in the editor; nothing when nothing is. */
export function quoted(document: Document | null): Quote | null {
  const state = document?.view?.state;
  const range = state?.selection.main;
  if (!document || !state || !range || range.empty) return null;
  const first = state.doc.lineAt(range.from).number;
  // A selection that ends at the beginning of a line does not mean that line.
  const end = state.doc.lineAt(range.to);
  const last = Math.max(first, range.to === end.from ? end.number - 1 : end.number);
  const whole = state.sliceDoc(range.from, range.to).replace(/\n$/, '');
  const words = whole.length > MOST ? `${whole.slice(0, MOST)}\n[cut]` : whole;
  const fence = '`'.repeat(Math.max(3, ...[...words.matchAll(/`+/g)].map(([run]) => run.length + 1)));
  const path = shown(document.key);
  const lines = first === last ? `line ${first}` : `lines ${first} to ${last}`;
  return {
    label: `${document.name}:${first === last ? first : `${first}–${last}`}`,
    text: `From \`${path}\`, ${lines}:\n\n${fence}${extensionOf(document.key)}\n${words}\n${fence}\n\n`,
  };
}
