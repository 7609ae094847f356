// Files on their way into the workspace, one after the other, each of which can be stopped.

import { isAwaiting } from '$lib/types';
import { toasts } from '$lib/ui/toasts.svelte';
import type { WorkspaceFiles } from './files';
import { join } from './paths';

export interface Upload {
  id: number;
  /** The path below the directory that it goes into. */
  name: string;
  size: number;
  sent: number;
  stop: AbortController;
}

export class Uploads {
  all = $state<Upload[]>([]);
  #count = 0;

  constructor(
    readonly files: WorkspaceFiles,
    readonly arrived: (dir: string) => void,
  ) {}

  async send(dropped: { file: File; path: string }[], dir: string): Promise<void> {
    const waiting = dropped.map(({ file, path }) => {
      const told: Upload = { id: this.#count++, name: path, size: file.size, sent: 0, stop: new AbortController() };
      return { file, told };
    });
    this.all.push(...waiting.map(({ told }) => told));
    const done: string[] = [];
    for (const { file, told } of waiting) {
      if (!told.stop.signal.aborted && (await this.#one(file, told, dir))) done.push(told.name);
      this.all = this.all.filter(({ id }) => id !== told.id);
      this.arrived(dir);
    }
    if (done.length > 0) toasts.good(done.length === 1 ? `${done[0]} has been uploaded.` : `${done.length} files have been uploaded.`);
  }

  async #one(file: File, told: Upload, dir: string): Promise<boolean> {
    const progress = (sent: number) => {
      const at = this.all.find(({ id }) => id === told.id);
      if (at) at.sent = sent;
    };
    try {
      const saved = await this.files.upload(join(dir, told.name), file, progress, told.stop.signal);
      if (isAwaiting(saved)) toasts.info(`${told.name} waits for an approval.`);
      return !isAwaiting(saved);
    } catch (error) {
      if (told.stop.signal.aborted) toasts.info(`The upload of ${told.name} was stopped.`);
      else if (this.files.remembers(join(dir, told.name), file)) toasts.bad(`The upload of ${told.name} stopped on its way. Choose the same file again, and it goes on from there.`, error);
      else toasts.bad(`${told.name} could not be uploaded.`, error);
      return false;
    }
  }
}
