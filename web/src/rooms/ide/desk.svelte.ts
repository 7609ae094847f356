// Everything that one opened workspace has on the page, and what can be done with it.

import { follow, get, part, post, saveAs, words } from '$lib/api';
import { isAwaiting, type FileChanged, type FileEvent, type FileOperation, type ListeningPort, type PreviewLink, type Workspace } from '$lib/types';
import { router } from '$lib/router.svelte';
import { saveStream } from '$lib/saving';
import { confirm } from '$lib/ui/confirm.svelte';
import { toasts } from '$lib/ui/toasts.svelte';
import { plural } from '$lib/words';
import { Document } from './document.svelte';
import { WorkspaceFiles, clientId, type ArchiveFormat } from './files';
import { Layout } from './layout.svelte';
import { copyName, isWithin, join, keyOf, nameOf, parentOf, pathOf } from './paths';
import type { Problem } from './problems';
import { Project } from './project.svelte';
import { quoted, type Quote } from './quote';
import { Runner, type Wanted } from './run.svelte';
import { extensionsOf, goTo, mark } from './setup';
import { Terminals } from './terminals.svelte';
import { Tree } from './tree.svelte';
import { Uploads } from './uploads.svelte';

/** One of the panes that show open files. A file may be in both; its text is one. */
export class Group {
  tabs = $state.raw<Document[]>([]);
  active = $state.raw<Document | null>(null);
}

export class Desk {
  readonly files: WorkspaceFiles;
  readonly tree: Tree;
  readonly terminals: Terminals;
  readonly runner: Runner;
  readonly project: Project;
  readonly uploads: Uploads;
  readonly layout: Layout;
  workspace = $state.raw<Workspace>() as Workspace;
  /** One pane of open files, or two side by side, and the one that somebody works in. */
  groups = $state.raw<Group[]>([new Group()]);
  front = $state.raw<Group>(this.groups[0] as Group);
  /** The tab that is being dragged, and the pane that it comes from. */
  draggedTab: { document: Document; group: Group } | null = null;
  ports = $state.raw<ListeningPort[]>([]);
  preview = $state<{ port: number; path: string; url: string } | null>(null);
  previewProblem = $state('');
  /** A row that is being named: a new file or directory in it, or its own new name. */
  naming = $state<{ dir: string; key?: string; kind: 'file' | 'folder' | 'rename' } | null>(null);
  quickOpen = $state(false);
  /** Pieces of files that go along with the next prompt. */
  quotes = $state.raw<Quote[]>([]);
  /** Somebody wants to type into the chat. */
  chatAsked = $state(false);
  trashTold = $state(0);
  /** Counts what is saved here, by whomever. */
  savedTold = $state(0);
  /** The file whose history is shown; the one in front when nobody named one. */
  historyOf = $state<string | null>(null);
  #stops: (() => void)[] = [];
  #clipboard: { keys: string[]; cut: boolean } = { keys: [], cut: false };

  constructor(workspace: Workspace) {
    this.workspace = workspace;
    this.files = new WorkspaceFiles(workspace.id);
    this.tree = new Tree(this.files);
    this.terminals = new Terminals(workspace.id);
    this.runner = new Runner(this.files.base);
    this.project = new Project(this.files);
    this.uploads = new Uploads(this.files, (dir) => this.tree.touch(dir));
    this.layout = new Layout(workspace.id);
  }

  /** Begins to follow the workspace and opens what was open. */
  begin(): void {
    this.#stops.push(
      follow<FileEvent>(`${this.files.base}/files/events`, {
        onData: (event) => this.#happened(event),
        onOpen: () => this.#lookAgain(),
      }),
    );
    const online = () => this.tabs.forEach((document) => document.retry());
    window.addEventListener('online', online);
    this.#stops.push(() => window.removeEventListener('online', online));
    const { tabs, active, besideTabs, besideActive } = this.layout.kept;
    this.#reopen(this.front, tabs, active);
    if (besideTabs.length > 0) {
      const beside = new Group();
      this.groups = [this.front, beside];
      this.#reopen(beside, besideTabs, besideActive);
    }
    void this.project.learn(this.workspace.template);
    void this.terminals.adopt(this.layout.kept.names).catch((error: unknown) => (this.terminals.problem = words(error)));
  }

  end(): void {
    for (const stop of this.#stops) stop();
    for (const document of this.tabs) {
      void document.save();
      document.close();
    }
    this.tree.dispose();
    this.terminals.leave();
    this.runner.leave();
  }

  #reopen(group: Group, keys: string[], active: string | null): void {
    group.tabs = keys.map((key) => this.#document(key) ?? this.#made(key));
    group.active = group.tabs.find(({ key }) => key === active) ?? group.tabs[0] ?? null;
    this.groups = [...this.groups];
  }

  /** Every open file, whichever pane it is in. */
  get tabs(): Document[] {
    return [...new Set(this.groups.flatMap((group) => group.tabs))];
  }

  get active(): Document | null {
    return this.front.active;
  }

  get unsaved(): boolean {
    return this.tabs.some((document) => document.dirty);
  }

  #lookAgain(): void {
    void this.tree.load('');
    this.tree.refresh();
    for (const document of this.tabs) if (document.kind !== 'loading') void document.changedOutside();
  }

  #happened(event: FileEvent): void {
    if (event.event === 'resync') this.#lookAgain();
    else if (event.event === 'created') {
      const key = keyOf(event.path);
      this.tree.touch(parentOf(key));
      void this.#document(key)?.changedOutside();
    } else if (event.event === 'changed') {
      this.savedTold++;
      if (event.origin !== clientId) void this.#document(keyOf(event.path))?.changedOutside(event.etag);
    } else if (event.event === 'deleted') {
      const key = keyOf(event.path);
      this.tree.gone(key);
      this.trashTold++;
      for (const document of this.tabs) if (isWithin(document.key, key)) document.deletedOutside();
    } else if (event.event === 'renamed') {
      this.#renamed(keyOf(event.from), keyOf(event.to));
    }
  }

  #document(key: string): Document | undefined {
    return this.tabs.find((document) => document.key === key);
  }

  #renamed(from: string, to: string): void {
    this.tree.gone(from);
    this.tree.touch(parentOf(to));
    // A program that saves by renaming brings new content under an old name.
    void this.#document(to)?.changedOutside();
    for (const document of this.tabs) {
      if (!isWithin(document.key, from)) continue;
      if (this.historyOf === document.key) this.historyOf = null;
      document.key = to + document.key.slice(from.length);
      document.external = null;
    }
    this.#rememberTabs();
  }

  #rememberTabs(): void {
    const [first, beside] = this.groups;
    const keys = (group?: Group) => group?.tabs.map((document) => document.key) ?? [];
    Object.assign(this.layout.kept, {
      tabs: keys(first),
      active: first?.active?.key ?? null,
      besideTabs: keys(beside),
      besideActive: beside?.active?.key ?? null,
    });
  }

  async attempt<T>(work: Promise<T>): Promise<T | undefined> {
    try {
      return await work;
    } catch (error) {
      toasts.bad('That could not be done.', error);
      return undefined;
    }
  }

  // Tabs

  #made(key: string): Document {
    const made = new Document(this.files, key, (which) => extensionsOf(which, this.layout.kept));
    made.ready = made.load();
    return made;
  }

  async open(key: string, options: { group?: Group; focus?: boolean; line?: number; column?: number; length?: number } = {}): Promise<void> {
    const focused = window.document.activeElement;
    const document = this.#document(key) ?? this.#made(key);
    const group = options.group ?? this.front;
    if (!group.tabs.includes(document)) group.tabs = [...group.tabs, document];
    group.active = document;
    this.front = group;
    this.layout.phone = 'editor';
    this.#rememberTabs();
    await document.ready;
    await tick();
    const view = document.viewAt(group);
    if (view && options.line) goTo(view, options.line, options.column, options.length);
    else if (view && (options.focus ?? true) && !movedOn(focused)) view.focus();
    this.markProblems();
  }

  /** Opens a file in the other pane, which is made when there is none: the one in front unless another is named. */
  async openBeside(key = this.active?.key): Promise<void> {
    if (key === undefined) return;
    const other = this.groups.find((group) => group !== this.front) ?? new Group();
    if (!this.groups.includes(other)) this.groups = [...this.groups, other];
    await this.open(key, { group: other });
  }

  /** Puts the focus into the first or the second pane. */
  focusGroup(index: number): void {
    const group = this.groups[index];
    if (!group) return;
    this.front = group;
    group.active?.viewAt(group)?.focus();
  }

  async close(document: Document, group = this.front): Promise<void> {
    const elsewhere = this.groups.some((other) => other !== group && other.tabs.includes(document));
    if (!elsewhere && document.dirty && !(await document.save())) {
      const text = 'It could not be saved. What was typed since the last save would be gone.';
      if (!(await confirm({ title: `Close ${document.name}?`, text, yes: 'Close and lose the changes', danger: true }))) return;
    }
    this.#take(document, group);
    if (!elsewhere) document.close();
    this.#rememberTabs();
  }

  /** Takes a tab out of a pane; a second pane without tabs goes. */
  #take(document: Document, group: Group): void {
    const at = group.tabs.indexOf(document);
    group.tabs = group.tabs.filter((other) => other !== document);
    if (group.active === document) group.active = group.tabs[Math.min(at, group.tabs.length - 1)] ?? null;
    if (group.tabs.length > 0 || this.groups.length === 1) return;
    this.groups = this.groups.filter((other) => other !== group);
    if (this.front === group) this.front = this.groups[0] as Group;
  }

  /** Drops a tab before another, in the same pane or in the other. */
  moveTab(document: Document, from: Group, to: Group, at: number): void {
    if (from !== to) this.#take(document, from);
    const others = to.tabs.filter((other) => other !== document);
    to.tabs = [...others.slice(0, at), document, ...others.slice(at)];
    to.active = document;
    this.front = to;
    this.#rememberTabs();
  }

  cycle(step: number): void {
    const { tabs, active } = this.front;
    const next = tabs[((active ? tabs.indexOf(active) : -1) + step + tabs.length) % tabs.length];
    if (next) void this.open(next.key);
  }

  /** Goes to the problem after the cursor, or before it, in the order of files and lines; from the last one to the first. */
  nextProblem(step: 1 | -1): void {
    const { active } = this;
    const place = (file: string, line: number, column: number) => ({ file, line, column });
    const order = (a: ReturnType<typeof place>, b: ReturnType<typeof place>) => a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column;
    const all = [...this.runner.problems].sort(order);
    const here = active ? place(active.key, active.line, active.column) : null;
    const beyond = (one: Problem) => here !== null && order(place(one.file, one.line, one.column), here) * step > 0;
    const next = step > 0 ? (all.find(beyond) ?? all[0]) : (all.findLast(beyond) ?? all[all.length - 1]);
    if (next) void this.open(next.file, { line: next.line, column: next.column });
  }

  markProblems(): void {
    for (const document of this.tabs) {
      const problems = this.runner.problems.filter(({ file }) => file === document.key);
      for (const view of document.views) mark(view, problems);
    }
  }

  // Files

  async #operate(operation: FileOperation): Promise<FileChanged | undefined> {
    const changed = await this.attempt(this.files.operate(operation));
    if (changed && isAwaiting(changed)) {
      toasts.info('This waits for an approval.', { action: { label: 'See approvals', run: () => router.go('/approvals') } });
      return undefined;
    }
    return changed;
  }

  nameNew(kind: 'file' | 'folder', dir?: string): void {
    const at = this.tree.selected;
    const into = dir ?? (at === null ? '' : this.tree.entry(at)?.type === 'directory' ? at : parentOf(at));
    this.layout.side('explorer');
    if (into !== '') void this.tree.toggle(into, true);
    this.naming = { dir: into, kind };
  }

  async named(name: string): Promise<void> {
    const naming = this.naming;
    this.naming = null;
    if (!naming || !name || name.includes('\0')) return;
    if (naming.kind === 'rename' && naming.key !== undefined) {
      if (name === nameOf(naming.key)) return;
      await this.#saveWithin(naming.key);
      const changed = await this.#operate({ op: 'rename', path: pathOf(naming.key), new_name: name });
      if (changed?.entry) this.#moved(naming.key, keyOf(changed.entry.path));
      return;
    }
    const key = join(naming.dir, name);
    const changed = await this.#operate({ op: naming.kind === 'file' ? 'create_file' : 'create_directory', path: key });
    if (!changed) return;
    this.tree.touch(naming.dir);
    this.tree.only(key);
    if (naming.kind === 'file') await this.open(key);
  }

  #moved(from: string, to: string): void {
    this.#renamed(from, to);
    this.tree.only(to);
  }

  /** Saves what is changed here, before anything else looks at the files. */
  async saveAll(): Promise<void> {
    for (const document of this.tabs) if (document.dirty) await document.save();
  }

  async #saveWithin(key: string): Promise<void> {
    for (const document of this.tabs) if (isWithin(document.key, key) && document.dirty) await document.save();
  }

  async move(keys: string[], dir: string): Promise<void> {
    for (const key of keys) {
      if (parentOf(key) === dir || isWithin(dir, key)) continue;
      await this.#saveWithin(key);
      const to = join(dir, nameOf(key));
      const changed = await this.#operate({ op: 'move', from: pathOf(key), to });
      if (changed) this.#moved(key, to);
    }
  }

  async duplicate(keys: string[]): Promise<void> {
    for (const key of keys) await this.#copy(key, parentOf(key));
  }

  async #copy(key: string, dir: string): Promise<void> {
    const taken = this.tree.names(dir);
    const name = nameOf(key);
    const to = join(dir, taken.has(name) ? copyName(name, taken) : name);
    if (await this.#operate({ op: 'copy', from: pathOf(key), to })) await this.tree.load(dir);
  }

  /** Keeps them in mind, to be pasted: copied, or moved when they were cut. */
  copy(keys: string[], cut = false): void {
    this.#clipboard = { keys, cut };
  }

  /** Whether there is something to be pasted. */
  get holds(): boolean {
    return this.#clipboard.keys.length > 0;
  }

  async paste(dir: string): Promise<void> {
    const { keys, cut } = this.#clipboard;
    if (cut) {
      this.#clipboard = { keys: [], cut: false };
      return this.move(keys, dir);
    }
    for (const key of keys) await this.#copy(key, dir);
  }

  async remove(keys: string[]): Promise<void> {
    const gone: { id: string; key: string }[] = [];
    for (const key of keys) {
      await this.#saveWithin(key);
      const changed = await this.#operate({ op: 'trash', path: pathOf(key) });
      if (!changed) break;
      await this.#closeWithin(key);
      this.tree.gone(key);
      if (changed.trash_id) gone.push({ id: changed.trash_id, key });
    }
    if (gone.length === 0) return;
    this.trashTold++;
    const what = gone.length === 1 ? `${nameOf(gone[0]?.key ?? '')} is` : `${gone.length} entries are`;
    const back = async () => {
      for (const { id, key } of gone) await this.restore(id, key);
    };
    toasts.info(`${what} in the trash.`, { action: { label: 'Undo', run: () => void back() } });
  }

  async #closeWithin(key: string): Promise<void> {
    for (const document of this.tabs.filter((each) => isWithin(each.key, key))) {
      document.dirty = false;
      for (const group of this.groups.filter(({ tabs }) => tabs.includes(document))) await this.close(document, group);
    }
  }

  async restore(id: string, key: string): Promise<void> {
    if (!(await this.#operate({ op: 'restore', id }))) return;
    this.tree.touch(parentOf(key));
    this.trashTold++;
  }

  async purge(id?: string): Promise<void> {
    await this.#operate({ op: 'purge', ...(id ? { id } : {}) });
    this.trashTold++;
  }

  /** Shows what a file was before. */
  showHistory(key: string | null): void {
    this.historyOf = key;
    this.layout.side('history');
  }

  async forgetHistory(key: string): Promise<void> {
    await this.#operate({ op: 'forget_history', path: pathOf(key) });
    this.savedTold++;
  }

  async download(key: string): Promise<void> {
    const bytes = await this.attempt(this.files.download(key));
    if (bytes) saveAs(bytes, nameOf(key));
  }

  /** Packs a file or directory for whoever is at the page. */
  async pack(key: string, format: ArchiveFormat): Promise<void> {
    const { path, query } = this.files.archive(key, format);
    await this.attempt(saveStream(path, query, `${nameOf(key) || this.workspace.name}${format === 'zip' ? '.zip' : '.tar.gz'}`));
  }

  /** Unpacks an archive beside itself. */
  async unpack(key: string, format: ArchiveFormat): Promise<void> {
    const done = await this.attempt(this.files.extract(key, parentOf(key), format));
    if (!done) return;
    if (isAwaiting(done)) return void toasts.info('Unpacking waits for an approval.');
    this.tree.touch(parentOf(key));
    toasts.good(`${nameOf(key)} is unpacked: ${plural(done.files, 'file')}.`);
  }

  // Programs

  /** Runs the file in front, or the project where that is no program. */
  async run(document = this.active): Promise<void> {
    if (document?.kind !== 'text') return this.runProject();
    await this.#run(() => this.project.of(document.key));
  }

  /** Runs the project as its template says, or the crate of the file in front. */
  async runProject(): Promise<void> {
    await this.#run(() => this.project.whole(this.active?.key));
  }

  async #run(what: () => Promise<Wanted | null>): Promise<void> {
    if (this.runner.running) return;
    this.layout.panel('output');
    for (const document of this.tabs.filter(({ dirty }) => dirty)) {
      if (await document.save()) continue;
      toasts.bad(`${document.name} could not be saved, so nothing is run.`);
      return;
    }
    await this.project.learn(this.workspace.template);
    const wanted = await what();
    if (!wanted) {
      toasts.info('This workspace has no command that runs it as a whole. Open a file and run that.');
      return;
    }
    await this.runner.run(wanted);
    this.markProblems();
  }

  showTerminal(options: { cwd?: string; fresh?: boolean; beside?: boolean } = {}): void {
    this.layout.panel('terminal');
    if (options.fresh || options.cwd !== undefined || options.beside || this.terminals.all.length === 0) {
      void this.terminals.open({ cwd: options.cwd, beside: options.beside }).then(() => this.focusTerminal());
    } else this.focusTerminal();
  }

  focusTerminal(): void {
    void tick().then(() => this.terminals.all.find(({ id }) => id === this.terminals.active)?.screen?.focus());
  }

  /** Shows the chat and takes what is selected along; hides it when that has been done already. */
  toggleChat(): void {
    const selected = quoted(this.active);
    const taken = selected && this.quotes.some(({ text }) => text === selected.text);
    if (this.layout.kept.chat && (!selected || taken)) {
      this.layout.kept.chat = false;
      if (this.layout.phone === 'chat') this.layout.phone = 'editor';
      this.active?.view?.focus();
      return;
    }
    if (selected && !taken) this.quotes = [...this.quotes, selected];
    this.layout.kept.chat = true;
    this.layout.phone = 'chat';
    this.chatAsked = true;
  }

  async look(): Promise<void> {
    try {
      this.ports = (await get<{ ports: ListeningPort[] }>(`${this.files.base}/ports`)).ports;
    } catch {
      // Looked at again in a moment; a workspace that stopped says so elsewhere.
    }
  }

  async showPreview(port: number, path = '/'): Promise<void> {
    this.layout.kept.preview = true;
    this.layout.phone = 'preview';
    this.previewProblem = '';
    try {
      const { url } = await post<PreviewLink>(`${this.files.base}/preview`, { port, path });
      this.preview = { port, path, url };
    } catch (error) {
      this.previewProblem = words(error);
    }
  }

  async previewOutside(port: number, path = '/'): Promise<void> {
    const link = await this.attempt(post<PreviewLink>(`${this.files.base}/preview`, { port, path }));
    if (link) window.open(link.url, '_blank', 'noopener');
  }

  /** Where the page of a workspace is. */
  get address(): string {
    return `/workspaces/${part(this.workspace.id)}`;
  }
}

/** Whether somebody put the focus elsewhere while a file was loading: it is not taken from there. */
function movedOn(from: Element | null): boolean {
  const now = window.document.activeElement;
  return now !== from && now !== window.document.body;
}

const tick = () => new Promise<void>((resolve) => setTimeout(resolve, 30));
