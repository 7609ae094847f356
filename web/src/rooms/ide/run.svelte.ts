// Running a file: what it prints, how it ended, what is wrong with it.

import { ApiError, del, isAbort, part, stream, words } from '$lib/api';
import { offered } from '$lib/offered';
import type { ExecEvent, ExecOutcome } from '$lib/types';
import { AnsiReader, type Run as Text } from './ansi';
import { pathOf, shown } from './paths';
import { problemsIn, type Problem } from './problems';

export interface Piece extends Text {
  id: number;
  stream: 'stdout' | 'stderr' | 'note';
}

const KEPT = 1_000_000;

/** A file, by its language, or a program with its arguments. */
export interface Wanted {
  /** For people. */
  what: string;
  file?: string;
  argv?: string[];
  /** Where a program starts; the root when absent. */
  dir?: string;
}

export class Runner {
  pieces = $state.raw<Piece[]>([]);
  running = $state(false);
  what = $state('');
  outcome = $state<ExecOutcome | null>(null);
  problem = $state('');
  missing = $state(false);
  problems = $state.raw<Problem[]>([]);
  stdin = $state('');
  #id: string | null = null;
  #stop: AbortController | null = null;
  #count = 0;
  #queue: Piece[] = [];
  #frame = 0;
  #plain = '';

  constructor(readonly base: string) {}

  async run(wanted: Wanted): Promise<void> {
    if (this.running) return;
    this.clear();
    this.running = true;
    this.what = shown(wanted.what);
    const readers = { stdout: new AnsiReader(), stderr: new AnsiReader() };
    this.#stop = new AbortController();
    try {
      const { rules } = await offered();
      const program = wanted.file === undefined ? { argv: wanted.argv ?? [], cwd: pathOf(wanted.dir ?? '') } : { file: pathOf(wanted.file) };
      const body = { ...program, timeout_ms: rules.run_ms_max, ...(this.stdin ? { stdin: this.stdin } : {}) };
      const events = stream<ExecEvent>(`${this.base}/executions`, { body, signal: this.#stop.signal });
      for await (const event of events) {
        if (event.event === 'start') {
          this.#id = event.id;
          this.#push([{ text: `$ ${event.argv.join(' ')}\n`, classes: 'dim' }], 'note');
        } else if (event.event === 'exit') this.outcome = event;
        else {
          this.#plain = (this.#plain + event.text).slice(-KEPT);
          this.#push(readers[event.event].read(event.text), event.event);
        }
      }
      if (!this.outcome) this.problem = 'The connection to the program was lost.';
    } catch (error) {
      if (!isAbort(error)) {
        this.missing = error instanceof ApiError && error.code === 'missing_toolchain';
        this.problem = words(error);
      }
    } finally {
      this.running = false;
      this.#id = null;
      this.#show();
      this.problems = problemsIn(this.#plain, wanted.dir);
    }
  }

  #push(texts: Text[], from: Piece['stream']): void {
    for (const text of texts) this.#queue.push({ ...text, id: this.#count++, stream: from });
    this.#frame ||= requestAnimationFrame(() => this.#show());
  }

  #show(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#queue.length === 0) return;
    const next = [...this.pieces, ...this.#queue];
    this.#queue = [];
    let kept = 0;
    let from = next.length;
    while (from > 0 && kept < KEPT && next.length - from < 4000) kept += next[--from]?.text.length ?? 0;
    this.pieces = next.slice(from);
  }

  async stop(): Promise<void> {
    if (!this.running) return;
    if (this.#id) await del(`${this.base}/executions/${part(this.#id)}`).catch(() => this.#stop?.abort());
    else this.#stop?.abort();
  }

  clear(): void {
    this.pieces = [];
    this.#queue = [];
    this.#plain = '';
    this.outcome = null;
    this.problem = '';
    this.missing = false;
    this.problems = [];
  }

  leave(): void {
    this.#stop?.abort();
  }
}
