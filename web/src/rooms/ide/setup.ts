// The editor: CodeMirror with what an IDE needs, colours by the theme's variables.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import {
  bracketMatching,
  foldGutter,
  foldKeymap,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from '@codemirror/language';
import { lintGutter, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { gotoLine, highlightSelectionMatches, openSearchPanel, search, searchKeymap } from '@codemirror/search';
import { Compartment, EditorState, type Extension } from '@codemirror/state';
import {
  drawSelection,
  dropCursor,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
  rectangularSelection,
} from '@codemirror/view';
import { tags as t } from '@lezer/highlight';
import type { Document } from './document.svelte';
import { writtenIn } from './languages';
import type { Problem } from './problems';

export const wrapping = new Compartment();
export const sizing = new Compartment();

const look = EditorView.theme({
  '&': { height: '100%', color: 'var(--code-text)', backgroundColor: 'var(--code-bg)' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.55' },
  '.cm-content': { caretColor: 'var(--accent)', padding: '6px 0' },
  '.cm-cursor, .cm-dropCursor': { borderLeftColor: 'var(--accent)', borderLeftWidth: '2px' },
  '.cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground': {
    backgroundColor: 'var(--code-selection) !important',
  },
  '.cm-activeLine': { backgroundColor: 'var(--code-line)' },
  '.cm-gutters': { backgroundColor: 'var(--code-bg)', color: 'var(--text-3)', border: 'none' },
  '.cm-activeLineGutter': { backgroundColor: 'transparent', color: 'var(--code-text)' },
  '.cm-lineNumbers .cm-gutterElement': { minWidth: '3.2ch', paddingLeft: '10px' },
  '.cm-foldGutter .cm-gutterElement': { opacity: '0.55' },
  '.cm-matchingBracket': { backgroundColor: 'var(--code-selection) !important', outline: 'none' },
  '.cm-selectionMatch': { backgroundColor: 'var(--pressed)' },
  '.cm-searchMatch': { backgroundColor: 'var(--pressed)', outline: '1px solid var(--line-strong)' },
  '.cm-searchMatch-selected': { backgroundColor: 'var(--code-selection)' },
  '.cm-panels': { backgroundColor: 'var(--raised)', color: 'var(--code-text)', borderColor: 'var(--line-strong) !important' },
  '.cm-panel.cm-search': { padding: '8px 36px 8px 10px', font: '12.5px var(--font)' },
  '.cm-panel.cm-search label': { display: 'inline-flex', alignItems: 'center', gap: '4px', fontSize: '12px', color: 'var(--text-3)' },
  '.cm-textfield': {
    backgroundColor: 'var(--code-bg)',
    color: 'var(--code-text)',
    border: '1px solid var(--line-strong)',
    borderRadius: '5px',
    padding: '4px 7px',
    fontSize: '12.5px',
  },
  '.cm-button': {
    backgroundImage: 'none',
    backgroundColor: 'var(--code-bg)',
    color: 'var(--code-text)',
    border: '1px solid var(--line-strong)',
    borderRadius: '5px',
    padding: '3px 9px',
    fontSize: '12px',
    cursor: 'pointer',
  },
  '.cm-panel [name=close]': { color: 'var(--text-3)', fontSize: '18px', right: '10px', top: '6px', cursor: 'pointer' },
  '.cm-panel.cm-goto-line': { padding: '6px 36px 6px 10px', font: '12.5px var(--font)' },
  '.cm-panel.cm-goto-line label': { fontSize: '12px', marginRight: '6px' },
  '.cm-panel.cm-goto-line .cm-textfield': { width: '9ch', margin: '0 6px' },
  '.cm-panel.cm-goto-line .cm-dialog-close': { color: 'var(--text-3)', fontSize: '18px', right: '10px', top: '4px', cursor: 'pointer' },
  '.cm-tooltip': { backgroundColor: 'var(--raised)', border: '1px solid var(--line-strong)', borderRadius: '6px', color: 'var(--code-text)' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { backgroundColor: 'var(--code-selection)', color: 'var(--code-text)' },
  '.cm-specialChar': { color: 'var(--red)' },
});

const colours = HighlightStyle.define([
  { tag: [t.keyword, t.operatorKeyword, t.modifier, t.controlKeyword, t.definitionKeyword, t.moduleKeyword], color: 'var(--code-keyword)' },
  { tag: [t.string, t.special(t.string), t.regexp, t.character], color: 'var(--code-string)' },
  { tag: [t.number, t.bool, t.null, t.atom, t.unit], color: 'var(--code-number)' },
  { tag: [t.comment, t.lineComment, t.blockComment, t.docComment], color: 'var(--code-comment)', fontStyle: 'italic' },
  { tag: [t.function(t.variableName), t.function(t.propertyName), t.macroName, t.labelName], color: 'var(--code-function)' },
  { tag: [t.typeName, t.className, t.namespace, t.standard(t.name)], color: 'var(--code-type)' },
  { tag: [t.propertyName, t.attributeName], color: 'var(--code-type)' },
  { tag: [t.tagName, t.heading], color: 'var(--code-keyword)' },
  { tag: t.heading, fontWeight: '600' },
  { tag: [t.meta, t.annotation, t.processingInstruction], color: 'var(--code-comment)' },
  { tag: [t.link, t.url], color: 'var(--code-function)', textDecoration: 'underline' },
  { tag: t.emphasis, fontStyle: 'italic' },
  { tag: t.strong, fontWeight: '600' },
  { tag: t.inserted, color: 'var(--code-string)' },
  { tag: t.deleted, color: 'var(--code-keyword)' },
  { tag: t.invalid, color: 'var(--red)' },
]);

/** Colours and size, for editors and comparisons alike. */
export const appearance: Extension = [look, syntaxHighlighting(colours)];

export function fontSize(pixels: number): Extension {
  return EditorView.theme({ '.cm-scroller': { fontSize: `${pixels}px` } });
}

/** What the editor of a document is made of. */
export async function extensionsOf(document: Document, settings: { wrap: boolean; fontSize: number }): Promise<Extension[]> {
  const language = await writtenIn(document.key)?.load().catch(() => undefined);
  const report = EditorView.updateListener.of((update) => {
    if (update.docChanged) document.edited();
    if ((update.docChanged || update.selectionSet || update.focusChanged) && update.view === document.view) {
      const { main, ranges } = update.state.selection;
      const line = update.state.doc.lineAt(main.head);
      document.line = line.number;
      document.column = main.head - line.from + 1;
      document.selected = ranges.reduce((sum, range) => sum + range.to - range.from, 0);
    }
  });
  return [
    lineNumbers(),
    highlightActiveLineGutter(),
    highlightSpecialChars(),
    history(),
    foldGutter(),
    drawSelection(),
    dropCursor(),
    EditorState.allowMultipleSelections.of(true),
    indentOnInput(),
    bracketMatching(),
    closeBrackets(),
    autocompletion(),
    // Alt and a click put a cursor more, Shift and Alt choose a rectangle.
    EditorView.clickAddsSelectionRange.of((event) => event.altKey || event.ctrlKey || event.metaKey),
    rectangularSelection({ eventFilter: (event) => event.altKey && event.shiftKey && event.button === 0 }),
    highlightActiveLine(),
    highlightSelectionMatches(),
    search({ top: true }),
    lintGutter(),
    indentUnit.of(document.indent.tabs ? '\t' : ' '.repeat(document.indent.size)),
    EditorState.tabSize.of(document.indent.size),
    document.mixed ? EditorState.lineSeparator.of('\n') : [],
    EditorView.clipboardInputFilter.of((text) => text.replace(/\r\n?/g, '\n')),
    EditorView.contentAttributes.of({ 'aria-label': `Text of ${document.name}`, tabindex: '0' }),
    wrapping.of(settings.wrap ? EditorView.lineWrapping : []),
    sizing.of(fontSize(settings.fontSize)),
    language ?? [],
    appearance,
    report,
    keymap.of([
      { key: 'Mod-g', run: gotoLine, preventDefault: true },
      ...closeBracketsKeymap,
      // Mod+Enter runs the file, Mod+I is the chat: the desk listens above.
      ...defaultKeymap.filter(({ key }) => key !== 'Mod-Enter' && key !== 'Mod-i'),
      ...searchKeymap,
      ...historyKeymap,
      ...foldKeymap,
      ...completionKeymap,
      indentWithTab,
    ]),
  ];
}

/** Marks problems in the gutter and under the text. */
export function mark(view: EditorView, problems: Problem[]): void {
  const diagnostics: Diagnostic[] = [];
  for (const { line, column, message, severity } of problems) {
    if (line < 1 || line > view.state.doc.lines) continue;
    const text = view.state.doc.line(line);
    const from = Math.min(text.from + Math.max(column - 1, 0), text.to);
    const indented = column > 1 ? from : text.from + (text.length - text.text.trimStart().length);
    diagnostics.push({ from: indented, to: text.to, severity, message });
  }
  diagnostics.sort((a, b) => a.from - b.from);
  view.dispatch(setDiagnostics(view.state, diagnostics));
}

/** Opens the search with the cursor where the replacement is typed, or where the search is as long as nothing is looked for. */
export function openReplace(view: EditorView): void {
  openSearchPanel(view);
  const field = (name: string) => view.dom.querySelector<HTMLInputElement>(`.cm-search input[name=${name}]`);
  (field('search')?.value ? field('replace') : field('search'))?.select();
}

/** Puts the cursor there and shows it in the middle. */
export function goTo(view: EditorView, line: number, column = 1, length = 0): void {
  const at = view.state.doc.line(Math.max(1, Math.min(line, view.state.doc.lines)));
  const from = Math.min(at.from + column - 1, at.to);
  view.dispatch({
    selection: { anchor: from, head: Math.min(from + length, at.to) },
    effects: EditorView.scrollIntoView(from, { y: 'center' }),
  });
  view.focus();
}
