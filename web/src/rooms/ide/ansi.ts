// Colours of programs' output (ECMA-48 SGR) as runs of text with classes. Everything else of a terminal is left out.

export interface Run {
  text: string;
  /** `fg-1 bold`: colours by number, so that the theme decides. */
  classes: string;
}

// eslint-disable-next-line no-control-regex
const ESCAPES = /\x1b(?:\[([0-9;:?]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Za-z0-9]|[=>A-Za-z78])/g;

/** Reads output piece by piece; what a piece leaves open holds for the next. */
export class AnsiReader {
  #fg: number | null = null;
  #marks = new Set<string>();
  #rest = '';

  read(piece: string): Run[] {
    const text = this.#rest + piece;
    // An escape that is cut off by the end of the piece waits for the rest.
    const open = text.lastIndexOf('\x1b');
    const cut = open >= 0 && text.length - open < 64 && !new RegExp(ESCAPES.source).test(text.slice(open));
    this.#rest = cut ? text.slice(open) : '';
    const whole = cut ? text.slice(0, open) : text;
    const runs: Run[] = [];
    let at = 0;
    for (const found of whole.matchAll(ESCAPES)) {
      this.#push(runs, whole.slice(at, found.index));
      if (found[2] === 'm') this.#set(found[1] ?? '');
      at = found.index + found[0].length;
    }
    this.#push(runs, whole.slice(at));
    return runs;
  }

  #push(runs: Run[], text: string): void {
    const clean = text.replace(/\r+\n/g, '\n').replace(/[^\n]*\r(?=[^\n])/g, '');
    if (!clean) return;
    runs.push({ text: clean, classes: [...this.#marks, ...(this.#fg === null ? [] : [`fg-${this.#fg}`])].join(' ') });
  }

  #set(codes: string): void {
    const numbers = codes.split(/[;:]/).map((code) => Number(code || 0));
    for (let at = 0; at < numbers.length; at++) {
      const code = numbers[at] ?? 0;
      if (code === 0) {
        this.#fg = null;
        this.#marks.clear();
      } else if (code === 1) this.#marks.add('bold');
      else if (code === 2) this.#marks.add('dim');
      else if (code === 3) this.#marks.add('italic');
      else if (code === 4) this.#marks.add('underline');
      else if (code === 22) ['bold', 'dim'].forEach((mark) => this.#marks.delete(mark));
      else if (code === 23) this.#marks.delete('italic');
      else if (code === 24) this.#marks.delete('underline');
      else if (code >= 30 && code <= 37) this.#fg = code - 30;
      else if (code === 39) this.#fg = null;
      else if (code >= 90 && code <= 97) this.#fg = code - 82;
      else if (code === 38 || code === 48) {
        const short = numbers[at + 1] === 5;
        const index = numbers[at + 2] ?? 0;
        if (code === 38 && short && index < 16) this.#fg = index;
        at += short ? 2 : 4;
      }
    }
  }
}
