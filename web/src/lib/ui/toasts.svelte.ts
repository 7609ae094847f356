// What happened, in a line that goes away by itself, and in a log that stays until the page is closed.

import { ApiError, isAbort, words } from '../api';

export interface Toast {
  id: number;
  tone: 'info' | 'good' | 'bad';
  text: string;
  /** More words, in the log and below the line. */
  detail?: string;
  at: Date;
  action?: { label: string; run: () => void };
}

class Toasts {
  /** Shown now, oldest first. */
  shown = $state.raw<Toast[]>([]);
  /** Everything, newest first. */
  log = $state.raw<Toast[]>([]);
  unread = $state(0);
  #next = 1;
  #timers = new Map<number, ReturnType<typeof setTimeout>>();

  info(text: string, more: Partial<Pick<Toast, 'detail' | 'action'>> = {}): void {
    this.#add({ tone: 'info', text, ...more });
  }

  good(text: string, more: Partial<Pick<Toast, 'detail' | 'action'>> = {}): void {
    this.#add({ tone: 'good', text, ...more });
  }

  /** What could not be done, and why. An abort is nobody's failure and an expired session has its own dialog. */
  bad(text: string, error?: unknown, more: Partial<Pick<Toast, 'detail' | 'action'>> = {}): void {
    if (isAbort(error) || (error instanceof ApiError && error.status === 401)) return;
    this.#add({ tone: 'bad', text, detail: error === undefined ? undefined : words(error), ...more });
  }

  dismiss(id: number): void {
    this.shown = this.shown.filter((toast) => toast.id !== id);
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
  }

  /** The pointer rests on it: it stays. */
  hold(id: number): void {
    clearTimeout(this.#timers.get(id));
  }

  release(id: number): void {
    this.#timers.set(
      id,
      setTimeout(() => this.dismiss(id), 3000),
    );
  }

  read(): void {
    this.unread = 0;
  }

  clear(): void {
    this.log = [];
    this.unread = 0;
  }

  #add(toast: Omit<Toast, 'id' | 'at'>): void {
    const whole = { ...toast, id: this.#next++, at: new Date() };
    const same = this.shown.find((other) => other.text === whole.text && other.detail === whole.detail);
    if (same) this.dismiss(same.id);
    this.shown = [...this.shown.slice(-3), whole];
    this.log = [whole, ...this.log].slice(0, 200);
    this.unread += 1;
    const stays = whole.tone === 'bad' ? 9000 : whole.action ? 8000 : 4500;
    this.#timers.set(
      whole.id,
      setTimeout(() => this.dismiss(whole.id), stays),
    );
  }
}

export const toasts = new Toasts();
