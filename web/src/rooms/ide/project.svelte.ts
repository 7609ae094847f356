// What "run" means in a workspace: the file in front where it is a program, else the project as its template says.

import { get } from '$lib/api';
import { offered } from '$lib/offered';
import type { Language } from '$lib/types';
import type { WorkspaceFiles } from './files';
import { extensionOf, join, keyOf, parentOf } from './paths';
import type { Wanted } from './run.svelte';

export class Project {
  /** What the template starts it with, as one types it; empty where it starts nothing. */
  command = $state('');
  #extensions = $state.raw<ReadonlySet<string>>(new Set());
  #asked = false;

  constructor(readonly files: WorkspaceFiles) {}

  /** Learns what the workspace can run; once. */
  async learn(template: string): Promise<void> {
    if (this.#asked) return;
    this.#asked = true;
    const [made, languages] = await Promise.all([
      offered().catch(() => null),
      get<{ languages: Language[] }>(`${this.files.base}/languages`).catch(() => null),
    ]);
    const command = made?.templates.find(({ name }) => name === template)?.default_command ?? '';
    this.command = Array.isArray(command) ? command.join(' ') : command;
    this.#extensions = new Set(languages?.languages.flatMap(({ extensions }) => extensions) ?? []);
    this.#asked = made !== null && languages !== null;
  }

  /** The project itself: at its root, or where the manifest lies to which a file belongs. */
  async whole(file?: string): Promise<Wanted | null> {
    const crate = file === undefined ? null : await this.#crateOf(file);
    if (crate) return crate;
    return this.command ? { what: this.command, argv: ['sh', '-c', this.command] } : null;
  }

  /** What is run with this file in front: its crate, itself, or the project where it is no program. */
  async of(file: string): Promise<Wanted> {
    const itself = { what: file, file };
    const crate = await this.#crateOf(file);
    if (crate) return crate;
    if (this.#extensions.has(extensionOf(file)) || !this.command) return itself;
    const entry = await this.files.stat(file).catch(() => null);
    return entry && (entry.mode & 0o111) !== 0 ? itself : ((await this.whole()) ?? itself);
  }

  /** A file of Rust belongs to the crate whose manifest is nearest above it. */
  async #crateOf(file: string): Promise<Wanted | null> {
    if (extensionOf(file) !== 'rs' && !file.endsWith('Cargo.toml')) return null;
    for (let dir = parentOf(file); ; dir = parentOf(dir)) {
      const found = await this.files.stat(join(dir, 'Cargo.toml')).catch(() => null);
      if (found?.type === 'file') return { what: dir ? `cargo run in ${dir}` : 'cargo run', argv: ['cargo', 'run'], dir: keyOf(dir) };
      if (dir === '') return null;
    }
  }
}
