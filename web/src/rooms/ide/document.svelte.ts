// One open file: its text, what the server has of it, and the queue of one that saves it.

import { Annotation, EditorState, Transaction, type Extension, type Text } from '@codemirror/state';
import { EditorView } from '@codemirror/view';
import { ApiError, words } from '$lib/api';
import { isAwaiting } from '$lib/types';
import { EDITOR_BYTES_MAX, type WorkspaceFiles } from './files';
import { pictureType, writtenIn } from './languages';
import { nameOf } from './paths';
import { decode, difference, encode, indentation, type LineEnd } from './text';

export type Kind = 'loading' | 'text' | 'picture' | 'binary' | 'large' | 'failed';
export type Saving = 'saved' | 'waiting' | 'saving' | 'offline' | 'conflict' | 'approval' | 'failed';

const PAUSE_MS = 1000;
const GAP_MS = 1500;

/** Marks a change that was made in another view of the same text. */
const echo = Annotation.define<boolean>();

export interface Theirs {
  text: string;
  etag: string;
  /** It was deleted. */
  gone: boolean;
  /** It is no text (any more), of so many bytes: there is nothing to compare with. */
  bytes?: number;
}

export class Document {
  key = $state('');
  kind = $state<Kind>('loading');
  saving = $state<Saving>('saved');
  problem = $state('');
  dirty = $state(false);
  /** It changed on disk while there are changes here. */
  external = $state<'changed' | 'deleted' | null>(null);
  /** Both versions, while somebody decides. */
  theirs = $state.raw<Theirs | null>(null);
  approval = $state<string | null>(null);
  size = $state(0);
  picture = $state<string | null>(null);
  eol = $state<LineEnd>('\n');
  mixed = $state(false);
  bom = $state(false);
  indent = $state({ tabs: false, size: 4 });
  line = $state(1);
  column = $state(1);
  selected = $state(0);
  language = $state('Plain text');

  etag = '';
  /** What the editor shows; kept while another tab is in front. */
  state: EditorState | null = null;
  scroll = 0;
  /** Fulfilled when what is there to be loaded is loaded. */
  ready: Promise<void> = Promise.resolve();
  /** Where the text is shown, by place; the one that had the focus last is the last. */
  #views = new Map<object, EditorView>();
  #saved: Text | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The save that is on its way. There is one at a time. */
  #underway: Promise<boolean> | null = null;
  #last = 0;
  #failures = 0;
  #closed = false;

  constructor(
    readonly files: WorkspaceFiles,
    key: string,
    readonly extensions: (document: Document) => Promise<Extension[]>,
  ) {
    this.key = key;
  }

  /** The view that somebody works in, of those that show it. */
  get view(): EditorView | null {
    return [...this.#views.values()].pop() ?? null;
  }

  get views(): EditorView[] {
    return [...this.#views.values()];
  }

  viewAt(place: object): EditorView | undefined {
    return this.#views.get(place);
  }

  /** Shows the text in a place of the page, beside the others that show it; returns how to end that. */
  show(place: object, parent: HTMLElement): () => void {
    const state = this.view?.state ?? this.state ?? undefined;
    const view = new EditorView({ state, parent, dispatchTransactions: (all, which) => this.#change(all, which) });
    this.#views.set(place, view);
    view.scrollDOM.scrollTop = this.scroll;
    const kept = () => (this.scroll = view.scrollDOM.scrollTop);
    view.scrollDOM.addEventListener('scroll', kept, { passive: true });
    view.contentDOM.addEventListener('focus', () => {
      this.#views.delete(place);
      this.#views.set(place, view);
    });
    return () => {
      this.state = view.state;
      this.#views.delete(place);
      view.destroy();
    };
  }

  /** What is typed in one view appears in the others; each undoes what was typed in it. */
  #change(all: readonly Transaction[], view: EditorView): void {
    view.update(all);
    for (const one of all) {
      if (!one.docChanged || one.annotation(echo)) continue;
      for (const other of this.#views.values()) {
        if (other !== view) other.dispatch({ changes: one.changes, annotations: [echo.of(true), Transaction.addToHistory.of(false)] });
      }
    }
  }

  get name(): string {
    return nameOf(this.key);
  }

  get text(): string {
    return this.#current?.sliceString(0, undefined, '\n') ?? '';
  }

  get #current(): Text | undefined {
    return (this.view?.state ?? this.state)?.doc;
  }

  async load(): Promise<void> {
    try {
      const entry = await this.files.stat(this.key);
      this.size = entry.size;
      if (entry.type === 'directory') throw new Error('This is a directory.');
      if (entry.size > EDITOR_BYTES_MAX) {
        this.kind = 'large';
        return;
      }
      const content = await this.files.read(this.key);
      if (!content) return;
      this.etag = content.etag;
      const type = pictureType(this.key);
      if (type) {
        if (this.picture) URL.revokeObjectURL(this.picture);
        this.picture = URL.createObjectURL(new Blob([content.bytes as Uint8Array<ArrayBuffer>], { type }));
        this.kind = 'picture';
        return;
      }
      const read = content.binary ? null : decode(content.bytes);
      if (!read) {
        this.kind = 'binary';
        return;
      }
      this.eol = read.eol;
      this.mixed = read.mixed;
      this.bom = read.bom;
      const written = writtenIn(this.key);
      this.language = written?.name ?? 'Plain text';
      this.indent = indentation(read.text, written?.indent ?? 4);
      this.state = EditorState.create({ doc: read.text, extensions: await this.extensions(this) });
      this.#saved = this.state.doc;
      this.kind = 'text';
    } catch (error) {
      this.problem = words(error);
      this.kind = 'failed';
    }
  }

  /** The editor's text changed. */
  edited(): void {
    this.dirty = !(this.#saved && this.#current?.eq(this.#saved));
    if (!this.dirty) {
      clearTimeout(this.#timer);
      if (this.saving === 'waiting') this.saving = 'saved';
      return;
    }
    if (this.saving === 'saved' || this.saving === 'waiting' || this.saving === 'failed') {
      this.saving = 'waiting';
      this.#schedule(PAUSE_MS);
    }
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.save(), Math.max(ms, this.#last + GAP_MS - Date.now(), 0));
  }

  /** Saves now; with `over`, in place of what has that entity tag (`''`: of nothing). */
  async save(over?: string): Promise<boolean> {
    clearTimeout(this.#timer);
    while (this.#underway) await this.#underway;
    if (this.kind !== 'text' || (!this.dirty && over === undefined)) return true;
    this.#underway = this.#send(over).finally(() => (this.#underway = null));
    return this.#underway;
  }

  async #send(over?: string): Promise<boolean> {
    if (this.saving === 'conflict' && over === undefined) return false;
    const doc = this.#current;
    if (!doc) return false;
    this.#last = Date.now();
    this.saving = 'saving';
    try {
      const bytes = encode(doc.sliceString(0, undefined, this.eol), this.bom);
      const etag = over ?? this.etag;
      const answer = await this.files.save(this.key, bytes, etag === '' ? { ifNew: true } : { ifMatch: etag }, { parents: etag === '' });
      if (isAwaiting(answer)) {
        this.saving = 'approval';
        this.approval = answer.approval_id;
        return false;
      }
      this.etag = answer.etag;
      this.size = answer.size;
      this.#saved = doc;
      this.#failures = 0;
      this.external = null;
      this.theirs = null;
      this.problem = '';
      this.approval = null;
      this.dirty = !this.#current?.eq(doc);
      this.saving = this.dirty ? 'waiting' : 'saved';
      if (this.dirty) this.#schedule(PAUSE_MS);
      return true;
    } catch (error) {
      await this.#failed(error);
      return false;
    }
  }

  async #failed(error: unknown): Promise<void> {
    this.problem = words(error);
    this.#failures++;
    const wait = Math.min(1000 * 2 ** this.#failures, 30_000);
    if (error instanceof ApiError && (error.code === 'edit_conflict' || error.status === 412)) {
      this.saving = 'conflict';
      await this.compare();
    } else if (error instanceof ApiError && error.code === 'already_exists') {
      this.saving = 'conflict';
      await this.compare();
    } else if (error instanceof ApiError && error.status === 429) {
      this.saving = 'waiting';
      this.#schedule((error.retryAfter ?? 5) * 1000);
    } else if (!(error instanceof ApiError) || error.isOffline || error.status >= 502) {
      this.saving = 'offline';
      this.#schedule(wait);
    } else {
      this.saving = 'failed';
    }
  }

  /** Tries again at once, for example when the connection is back. */
  retry(): void {
    if (this.saving === 'offline') this.#schedule(0);
  }

  /** Fetches what is on disk to be compared with what is here. */
  async compare(): Promise<void> {
    try {
      const content = await this.files.read(this.key);
      if (!content) return;
      const read = content.binary ? null : decode(content.bytes);
      this.theirs = read ? { text: read.text.replace(/\r\n?/g, '\n'), etag: content.etag, gone: false } : { text: '', etag: content.etag, gone: false, bytes: content.bytes.length };
      this.saving = 'conflict';
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) {
        this.saving = 'conflict';
        this.theirs = { text: '', etag: '', gone: true };
      } else this.problem = words(error);
    }
  }

  /** Keeps a text (mine, or the merged one) in place of what is on disk. */
  async resolve(text: string): Promise<void> {
    const etag = this.theirs?.etag ?? this.etag;
    this.replace(text);
    this.dirty = true;
    await this.save(etag);
  }

  /** Takes what is on disk. */
  takeTheirs(): void {
    const theirs = this.theirs;
    if (!theirs) return;
    if (theirs.bytes === undefined) this.replace(theirs.text);
    this.#settle(theirs.etag);
    if (theirs.bytes !== undefined) this.ready = this.load();
  }

  #settle(etag: string): void {
    this.etag = etag;
    this.#saved = this.#current ?? null;
    this.dirty = false;
    this.theirs = null;
    this.external = null;
    this.problem = '';
    this.saving = 'saved';
    clearTimeout(this.#timer);
  }

  /** Puts another text in, moving the cursor as little as possible. */
  replace(text: string): void {
    const change = difference(this.text, text);
    if (!change) return;
    const state = this.view?.state ?? this.state;
    if (!state) return;
    const transaction = state.update({ changes: change });
    this.state = transaction.state;
    this.view?.dispatch(transaction);
  }

  /** Somebody else changed it on disk. */
  async changedOutside(etag?: string): Promise<void> {
    if (this.kind === 'loading' || (etag && etag === this.etag)) return;
    if (this.kind !== 'text') return this.load();
    // The echo of a save of one's own tells nothing new; what others saved right after it does.
    while (this.#underway) await this.#underway;
    if (etag && etag === this.etag) return;
    if (this.dirty) {
      if (this.saving !== 'conflict') this.external = 'changed';
      return;
    }
    try {
      const content = await this.files.read(this.key, this.etag);
      if (!content) return;
      if (this.dirty || this.#underway) {
        if (content.etag !== this.etag) this.external = 'changed';
        return;
      }
      const read = content.binary ? null : decode(content.bytes);
      if (!read) return void (this.kind = 'binary');
      this.eol = read.eol;
      this.bom = read.bom;
      this.replace(read.mixed ? read.text : read.text.replace(/\r\n?/g, '\n'));
      this.#settle(content.etag);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) this.deletedOutside();
    }
  }

  deletedOutside(): void {
    this.external = 'deleted';
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    if (this.picture) URL.revokeObjectURL(this.picture);
  }
}
