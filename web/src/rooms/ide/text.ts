// Bytes of a file as text and back, exactly: byte order mark, line ends and the last line stay as they are.

export type LineEnd = '\n' | '\r\n' | '\r';

export interface FileText {
  text: string;
  bom: boolean;
  eol: LineEnd;
  /** Line ends of several kinds: carriage returns stay signs of the text. */
  mixed: boolean;
}

/** The text of a file; nothing when the bytes are no UTF-8 or hold a NUL. */
export function decode(bytes: Uint8Array): FileText | null {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
  if (text.includes('\0')) return null;
  const bom = text.startsWith('\uFEFF');
  if (bom) text = text.slice(1);
  const count = (pattern: RegExp) => text.match(pattern)?.length ?? 0;
  const crlf = count(/\r\n/g);
  const lf = count(/\n/g) - crlf;
  const cr = count(/\r/g) - crlf;
  const kinds = [crlf, lf, cr].filter((kind) => kind > 0).length;
  const eol: LineEnd = kinds > 1 ? '\n' : crlf > 0 ? '\r\n' : cr > 0 ? '\r' : '\n';
  return { text, bom, eol, mixed: kinds > 1 };
}

export function encode(text: string, bom: boolean): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(bom ? `\uFEFF${text}` : text) as Uint8Array<ArrayBuffer>;
}

/** How a text is indented: with tabs, or with so many spaces. */
export function indentation(text: string, otherwise: number): { tabs: boolean; size: number } {
  const steps = new Map<number, number>();
  let tabs = 0;
  let spaces = 0;
  let before = 0;
  for (const line of text.slice(0, 60_000).split('\n', 800)) {
    if (line.trim() === '') continue;
    if (line.startsWith('\t')) {
      tabs++;
      continue;
    }
    const width = line.length - line.trimStart().length;
    if (width > 0) spaces++;
    const step = Math.abs(width - before);
    if (step >= 2 && step <= 8) steps.set(step, (steps.get(step) ?? 0) + 1);
    before = width;
  }
  if (tabs > spaces) return { tabs: true, size: 4 };
  const best = [...steps].sort((a, b) => b[1] - a[1])[0];
  return { tabs: false, size: best?.[0] ?? otherwise };
}

/** The smallest replacement that turns one text into another: a cursor outside of it stays where it is. */
export function difference(before: string, after: string): { from: number; to: number; insert: string } | null {
  if (before === after) return null;
  const shortest = Math.min(before.length, after.length);
  let start = 0;
  while (start < shortest && before[start] === after[start]) start++;
  let end = 0;
  while (end < shortest - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  return { from: start, to: before.length - end, insert: after.slice(start, after.length - end) };
}
