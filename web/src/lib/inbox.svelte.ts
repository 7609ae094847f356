// The questions that wait for somebody, kept up to date for the badge and for the inbox.

import { follow, get } from './api';
import type { Approval } from './types';

class Inbox {
  pending = $state.raw<Approval[]>([]);
  loaded = $state(false);
  error = $state.raw<unknown>(null);
  /** Counts what happened to questions: whoever shows a list looks again when it moves. */
  version = $state(0);
  #stop: (() => void) | null = null;
  #again: ReturnType<typeof setTimeout> | undefined;

  start(): void {
    if (this.#stop) return;
    this.#stop = follow('/approvals/stream', {
      onOpen: () => this.reload(),
      onData: () => this.#soon(),
      onBroken: (error) => {
        this.error = this.loaded ? null : error;
      },
    });
  }

  stop(): void {
    this.#stop?.();
    this.#stop = null;
    this.pending = [];
    this.loaded = false;
  }

  async reload(): Promise<void> {
    try {
      this.pending = await get<Approval[]>('/approvals/pending');
      this.loaded = true;
      this.error = null;
    } catch (error) {
      if (!this.loaded) this.error = error;
    }
    this.version += 1;
  }

  // Several records of one answer arrive together.
  #soon(): void {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => void this.reload(), 120);
  }
}

export const inbox = new Inbox();
