// Some parts of a change, as text: for many pairs of texts and every choice. Needs no browser.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import ts from 'typescript';

const { compare, hunksOf, placeOf, withParts, without } = await brought('../src/conversation/diff.ts');
const { changesOf, isChange } = await brought('../src/lib/unified.ts');

async function brought(path) {
  const source = await readFile(new URL(path, import.meta.url), 'utf8');
  const { outputText } = ts.transpileModule(source, { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } });
  return import(`data:text/javascript,${encodeURIComponent(outputText)}`);
}

/** The same numbers every time (Park and Miller, 1988). */
function numbers(seed) {
  let state = seed;
  return (below) => ((state = (state * 48271) % 2147483647), state % below);
}

function changed(lines, next) {
  return lines.flatMap((line) => {
    const what = next(12);
    return what === 0 ? [] : what === 1 ? [`${line} changed`] : what === 2 ? [line, `after ${line}`] : [line];
  });
}

const joined = (lines, end) => lines.join('\n') + (end && lines.length > 0 ? '\n' : '');
const choices = (count) => Array.from({ length: 2 ** count }, (_, bits) => new Set(Array.from({ length: count }, (_, at) => at).filter((at) => bits & (1 << at))));

describe('some parts of a change', () => {
  it('are all of it, none of it, or exactly the lines that were chosen', () => {
    let several = 0;
    for (let seed = 1; seed <= 300; seed++) {
      const next = numbers(seed);
      const lines = Array.from({ length: next(60) }, (_, at) => `line ${at}${next(9) === 0 ? '\r' : ''}`);
      const [before, after] = [joined(lines, next(3) > 0), joined(changed(lines, next), next(3) > 0)];
      const hunks = hunksOf(compare(before, after));
      if (hunks.length < 2 || hunks.length > 6) continue;
      several++;
      for (const wanted of choices(hunks.length)) {
        const text = withParts(before, after, wanted);
        if (wanted.size === hunks.length) assert.equal(text, after);
        if (wanted.size === 0) assert.equal(text, before);
        // What was left is what differs from the whole change, what was taken is what differs from before.
        const kept = (part) => part.lines.filter(({ kind }) => kind !== 'same').map(({ kind, text: line }) => kind + line);
        assert.deepEqual(hunksOf(compare(before, text)).flatMap(kept), hunks.filter((_, at) => wanted.has(at)).flatMap(kept));
      }
    }
    assert.ok(several > 50, `${several} changes had several parts`);
  });

  it('is undone again, part by part', () => {
    const before = Array.from({ length: 40 }, (_, at) => `line ${at + 1}\n`).join('');
    const after = before.replace('line 3\n', 'third\n').replace('line 20\n', '').replace('line 38\n', 'line 38\nand more\n');
    const text = withParts(before, after, new Set([0, 2]));
    const parts = hunksOf(compare(before, text));
    assert.deepEqual(parts.map(placeOf), [3, 39]);
    assert.equal(parts.reverse().reduce((rest, part) => without(rest, part), text), before);
  });

  it('keep the end of the last line as the last part has it', () => {
    const before = `${Array.from({ length: 30 }, (_, at) => `line ${at}`).join('\n')}\n`;
    const after = before.replace('line 2\n', 'two\n').replace('line 29\n', 'the end');
    assert.ok(withParts(before, after, new Set([0])).endsWith('line 29\n'));
    assert.ok(withParts(before, after, new Set([1])).endsWith('the end'));
    assert.equal(withParts('', 'one\n', new Set([0])), 'one\n');
    assert.equal(withParts('one\n', '', new Set()), 'one\n');
  });
});

describe('a unified difference', () => {
  it('is read file by file, whatever its lines look like', () => {
    const text = [
      '--- a/notes.md', '+++ b/notes.md', '@@ -1,3 +1,3 @@', ' one', '--- a list', '+++ a sum', ' three', '@@ -9 +9,2 @@', ' nine', '+ten',
      '\\ No newline at end of file', '--- /dev/null', '+++ b/new.txt', '@@ -0,0 +1 @@', '+made', '',
    ].join('\n');
    assert.ok(isChange(text));
    const [notes, fresh] = changesOf(text);
    assert.deepEqual([notes.path, notes.fresh, fresh.path, fresh.fresh], ['notes.md', false, 'new.txt', true]);
    assert.deepEqual(notes.lines.map(({ kind, text: line }) => `${kind} ${line}`), [
      'same one', 'removed -- a list', 'added ++ a sum', 'same three', 'part Line 9', 'same nine', 'added ten',
    ]);
    assert.deepEqual(fresh.lines, [{ kind: 'added', text: 'made' }]);
  });

  it('may be cut off, which is told, and is nothing else', () => {
    const [cut] = changesOf('--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n same\n-gone\n… and 12 more lines');
    assert.deepEqual(cut.lines.at(-1), { kind: 'part', text: '… and 12 more lines' });
    for (const other of ['', 'npm test', '--- a', '--- a\n+++ b\n', 'see:\n--- a\n+++ b\n@@ -1 +1 @@']) assert.ok(!isChange(other), other);
  });
});
