// Unified differences, as `diff -u` and git write them, read line by line.

export interface ChangeLine {
  /** `part` says where the next lines are, or that something was left out. */
  kind: 'same' | 'added' | 'removed' | 'part';
  text: string;
}

export interface Change {
  path: string;
  /** The file was not there before. */
  fresh: boolean;
  lines: ChangeLine[];
}

/** Whether a text is such a difference from its first line on. */
export function isChange(text: string): boolean {
  return /^--- [^\n]+\n\+\+\+ [^\n]+\n@@ -\d/.test(text);
}

/** The changes in a text, file by file. What does not belong to one (a note that the rest was cut off) is told as a `part`. */
export function changesOf(text: string): Change[] {
  const all = text.replace(/\n$/, '').split('\n');
  const changes: Change[] = [];
  // Lines that the part's header still announces; only outside of parts a `---` begins another file.
  let [before, after] = [0, 0];
  for (let at = 0; at < all.length; at += 1) {
    const line = all[at] ?? '';
    const next = all[at + 1] ?? '';
    const inside = before > 0 || after > 0;
    if (!inside && line.startsWith('--- ') && next.startsWith('+++ ')) {
      const fresh = line === '--- /dev/null';
      const gone = next === '+++ /dev/null';
      changes.push({ path: (gone ? line : next).slice(4).replace(/^[ab]\//, ''), fresh, lines: [] });
      at += 1;
      continue;
    }
    const lines = changes[changes.length - 1]?.lines;
    if (!lines) continue;
    const part = inside ? null : /^@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/.exec(line);
    if (part) {
      before = Number(part[1] ?? 1);
      after = Number(part[3] ?? 1);
      if (lines.length > 0 || part[2] !== '1') lines.push({ kind: 'part', text: `Line ${part[2]}` });
    } else if (line.startsWith('\\')) {
      continue;
    } else if (inside && line.startsWith('+')) {
      after -= 1;
      lines.push({ kind: 'added', text: line.slice(1) });
    } else if (inside && line.startsWith('-')) {
      before -= 1;
      lines.push({ kind: 'removed', text: line.slice(1) });
    } else if (inside && (line.startsWith(' ') || line === '')) {
      before -= 1;
      after -= 1;
      lines.push({ kind: 'same', text: line.slice(1) });
    } else if (line) {
      lines.push({ kind: 'part', text: line });
    }
  }
  return changes;
}
