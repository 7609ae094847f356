// Everything that one opened workspace has on the page, and what can be done with it.

import { follow, get, part, post, saveAs, words } from '$lib/api';
import { isAwaiting, type FileChanged, type FileEvent, type FileOperation, type ListeningPort, type PreviewLink, type Workspace } from '$lib/types';
import { router } from '$lib/router.svelte';
import { confirm } from '$lib/ui/confirm.svelte';
import { toasts } from '$lib/ui/toasts.svelte';
import { Document } from './document.svelte';
import { WorkspaceFiles, clientId } from './files';
import { Layout } from './layout.svelte';
import { copyName, isWithin, join, keyOf, nameOf, parentOf, pathOf } from './paths';
import { Runner } from './run.svelte';
import { extensionsOf, goTo, mark } from './setup';
import { Terminals } from './terminals.svelte';
import { Tree } from './tree.svelte';

export interface UploadProgress {
  id: number;
  name: string;
  size: number;
  sent: number;
}

export class Desk {
  readonly files: WorkspaceFiles;
  readonly tree: Tree;
  readonly terminals: Terminals;
  readonly runner: Runner;
  readonly layout: Layout;
  workspace = $state.raw<Workspace>() as Workspace;
  tabs = $state.raw<Document[]>([]);
  active = $state.raw<Document | null>(null);
  uploads = $state<UploadProgress[]>([]);
  ports = $state.raw<ListeningPort[]>([]);
  preview = $state<{ port: number; path: string; url: string } | null>(null);
  previewProblem = $state('');
  /** A row that is being named: a new file or directory in it, or its own new name. */
  naming = $state<{ dir: string; key?: string; kind: 'file' | 'folder' | 'rename' } | null>(null);
  quickOpen = $state(false);
  trashTold = $state(0);
  #stops: (() => void)[] = [];
  #count = 0;
  #clipboard: string | null = null;

  constructor(workspace: Workspace) {
    this.workspace = workspace;
    this.files = new WorkspaceFiles(workspace.id);
    this.tree = new Tree(this.files);
    this.terminals = new Terminals(workspace.id);
    this.runner = new Runner(this.files.base);
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
    const { tabs, active } = this.layout.kept;
    for (const key of tabs) void this.open(key, { front: key === active, focus: false });
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
      document.key = to + document.key.slice(from.length);
      document.external = null;
    }
    this.#rememberTabs();
  }

  #rememberTabs(): void {
    this.layout.kept.tabs = this.tabs.map((document) => document.key);
    this.layout.kept.active = this.active?.key ?? null;
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

  async open(key: string, options: { front?: boolean; focus?: boolean; line?: number; column?: number; length?: number } = {}): Promise<void> {
    let document = this.#document(key);
    const front = options.front ?? true;
    if (!document) {
      const made = new Document(this.files, key, (which) => extensionsOf(which, this.layout.kept));
      document = made;
      this.tabs = [...this.tabs, made];
      if (front) this.active = made;
      this.#rememberTabs();
      await made.load();
    }
    if (front) {
      this.active = document;
      this.layout.phone = 'editor';
      this.#rememberTabs();
      await tick();
      if (document.view) {
        if (options.line) goTo(document.view, options.line, options.column, options.length);
        else if (options.focus ?? true) document.view.focus();
      }
      this.markProblems();
    }
  }

  async close(document: Document): Promise<void> {
    if (document.dirty && !(await document.save())) {
      const text = 'It could not be saved. What was typed since the last save would be gone.';
      if (!(await confirm({ title: `Close ${document.name}?`, text, yes: 'Close and lose the changes', danger: true }))) return;
    }
    const at = this.tabs.indexOf(document);
    this.tabs = this.tabs.filter((other) => other !== document);
    if (this.active === document) this.active = this.tabs[Math.min(at, this.tabs.length - 1)] ?? null;
    document.close();
    this.#rememberTabs();
  }

  moveTab(from: number, to: number): void {
    const tabs = [...this.tabs];
    const [moved] = tabs.splice(from, 1);
    if (moved) tabs.splice(to, 0, moved);
    this.tabs = tabs;
    this.#rememberTabs();
  }

  cycle(step: number): void {
    const at = this.active ? this.tabs.indexOf(this.active) : -1;
    const next = this.tabs[(at + step + this.tabs.length) % this.tabs.length];
    if (next) void this.open(next.key);
  }

  markProblems(): void {
    for (const document of this.tabs) {
      if (document.view) mark(document.view, this.runner.problems.filter(({ file }) => file === document.key));
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
    this.tree.selected = key;
    if (naming.kind === 'file') await this.open(key);
  }

  #moved(from: string, to: string): void {
    this.#renamed(from, to);
    this.tree.selected = to;
  }

  async #saveWithin(key: string): Promise<void> {
    for (const document of this.tabs) if (isWithin(document.key, key) && document.dirty) await document.save();
  }

  async move(key: string, dir: string): Promise<void> {
    if (parentOf(key) === dir || isWithin(dir, key)) return;
    await this.#saveWithin(key);
    const to = join(dir, nameOf(key));
    const changed = await this.#operate({ op: 'move', from: pathOf(key), to });
    if (changed) this.#moved(key, to);
  }

  async duplicate(key: string, dir = parentOf(key)): Promise<void> {
    const to = join(dir, copyName(nameOf(key), this.tree.names(dir)));
    if (await this.#operate({ op: 'copy', from: pathOf(key), to })) this.tree.touch(dir);
  }

  copy(key: string): void {
    this.#clipboard = key;
  }

  async paste(dir: string): Promise<void> {
    if (this.#clipboard === null) return;
    const name = nameOf(this.#clipboard);
    const taken = this.tree.names(dir);
    const to = join(dir, taken.has(name) ? copyName(name, taken) : name);
    if (await this.#operate({ op: 'copy', from: pathOf(this.#clipboard), to })) this.tree.touch(dir);
  }

  async remove(key: string): Promise<void> {
    await this.#saveWithin(key);
    const changed = await this.#operate({ op: 'trash', path: pathOf(key) });
    if (!changed) return;
    const open = this.tabs.filter((document) => isWithin(document.key, key));
    for (const document of open) {
      document.dirty = false;
      await this.close(document);
    }
    this.tree.gone(key);
    if (this.tree.selected === key) this.tree.selected = null;
    this.trashTold++;
    const id = changed.trash_id;
    const undo = id && { label: 'Undo', run: () => void this.restore(id, key) };
    toasts.info(`${nameOf(key)} is in the trash.`, undo ? { action: undo } : {});
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

  async download(key: string, directory: boolean): Promise<void> {
    const bytes = await this.attempt(directory ? this.files.archive(key) : this.files.download(key));
    if (bytes) saveAs(bytes, directory ? `${nameOf(key) || this.workspace.name}.zip` : nameOf(key));
  }

  async upload(dropped: { file: File; path: string }[], dir: string): Promise<void> {
    let done = 0;
    for (const { file, path } of dropped) {
      const id = this.#count++;
      this.uploads.push({ id, name: path, size: file.size, sent: 0 });
      const key = join(dir, path);
      const saved = await this.attempt(
        this.files.upload(key, file, (sent) => {
          const at = this.uploads.find((upload) => upload.id === id);
          if (at) at.sent = sent;
        }),
      );
      this.uploads = this.uploads.filter((upload) => upload.id !== id);
      if (saved && isAwaiting(saved)) toasts.info(`${path} waits for an approval.`);
      else if (saved) done++;
      this.tree.touch(dir);
    }
    if (done > 0) toasts.good(done === 1 ? `${dropped[0]?.path ?? 'The file'} has been uploaded.` : `${done} files have been uploaded.`);
  }

  // Programs

  async run(document = this.active): Promise<void> {
    if (!document || this.runner.running) return;
    this.layout.panel('output');
    if (document.dirty && !(await document.save())) {
      toasts.bad(`${document.name} could not be saved, so it is not run.`);
      return;
    }
    await this.runner.run(document.key);
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

const tick = () => new Promise<void>((resolve) => setTimeout(resolve, 30));
