// Terminals of a workspace: the connection of each, and which are open.

import type { FitAddon } from '@xterm/addon-fit';
import type { Terminal as Screen } from '@xterm/xterm';
import { BASE, del, get, part, post, words, ApiError } from '$lib/api';
import { isAwaiting, type Awaiting, type OpenTerminal, type Terminal, type TerminalInput, type TerminalOutput, type Ticket } from '$lib/types';
import type { Layout } from './layout.svelte';
import { pathOf } from './paths';

export type Link = 'connecting' | 'open' | 'lost' | 'ended';

const ACK_BYTES = 32 * 1024;
const PING_MS = 30_000;
const FINAL: Record<number, string> = {
  4401: 'You have been signed out of this terminal.',
  4403: 'This terminal is not yours.',
  4404: 'This terminal is gone.',
  4408: 'This terminal was closed because nobody used it.',
  4409: 'The workspace is not running.',
  4429: 'There are as many terminals as a workspace may have.',
};

/** One terminal and the socket to it. */
export class TerminalSession {
  title = $state('terminal');
  link = $state<Link>('connecting');
  note = $state('');
  exitCode = $state<number | null>(null);
  screen: Screen | null = null;
  fitter: FitAddon | null = null;
  #socket: WebSocket | null = null;
  #unacked = 0;
  #failures = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #ping: ReturnType<typeof setInterval> | undefined;
  #closed = false;

  constructor(
    readonly workspace: string,
    readonly id: string,
    title: string,
  ) {
    this.title = title || 'terminal';
  }

  async connect(): Promise<void> {
    clearTimeout(this.#retry);
    if (this.#closed || this.link === 'ended') return;
    this.link = this.#failures > 0 ? 'lost' : 'connecting';
    try {
      const { ticket } = await post<Ticket>('/ws-tickets', { workspace_id: this.workspace, terminal_id: this.id });
      if (!this.#closed && this.screen) this.#open(ticket);
    } catch (error) {
      if (error instanceof ApiError && [403, 404, 409].includes(error.status)) this.#end(words(error));
      else this.#again();
    }
  }

  #open(ticket: string): void {
    const address = new URL(`${BASE}/workspaces/${part(this.workspace)}/terminals/${part(this.id)}/socket`, location.href);
    address.protocol = address.protocol.replace('http', 'ws');
    address.searchParams.set('ticket', ticket);
    const socket = new WebSocket(address, ['reeve.term.v1']);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (this.#socket !== socket) return;
      if (typeof data === 'string') this.#control(JSON.parse(data) as TerminalOutput);
      else this.#shown(new Uint8Array(data));
    };
    socket.onclose = ({ code }) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      clearInterval(this.#ping);
      if (this.#closed || this.link === 'ended') return;
      const final = FINAL[code];
      if (code === 1000) this.#end('');
      else if (code === 4401) this.#again();
      else if (final) this.#end(final);
      else this.#again();
    };
  }

  #control(message: TerminalOutput): void {
    if (message.type === 'ready') {
      this.link = 'open';
      this.note = '';
      this.#failures = 0;
      this.#unacked = 0;
      this.screen?.reset(); // what it remembers comes whole
      this.fit();
      this.#size();
      clearInterval(this.#ping);
      this.#ping = setInterval(() => this.#say({ type: 'ping', t: Date.now() }), PING_MS);
    } else if (message.type === 'exit') {
      this.exitCode = message.code;
      this.#end('');
    } else if (message.type === 'error') {
      this.note = message.message;
    }
  }

  #shown(bytes: Uint8Array): void {
    this.screen?.write(bytes, () => {
      this.#unacked += bytes.length;
      if (this.#unacked < ACK_BYTES && bytes.length > 4096) return;
      this.#say({ type: 'ack', bytes: this.#unacked });
      this.#unacked = 0;
    });
  }

  #say(message: TerminalInput): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #size(): void {
    if (this.screen) this.#say({ type: 'resize', cols: this.screen.cols, rows: this.screen.rows });
  }

  #again(): void {
    this.#failures++;
    this.link = 'lost';
    this.#retry = setTimeout(() => void this.connect(), Math.min(300 * 2 ** this.#failures, 15_000));
  }

  #end(note: string): void {
    this.link = 'ended';
    this.note = note;
  }

  type(text: string): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(new TextEncoder().encode(text));
  }

  typeBytes(binary: string): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(Uint8Array.from(binary, (sign) => sign.charCodeAt(0)));
  }

  resized(): void {
    this.#size();
  }

  fit(): void {
    const holder = this.screen?.element?.parentElement;
    if (holder && holder.clientWidth > 40 && holder.clientHeight > 20) this.fitter?.fit();
  }

  /** Nobody looks at it for now: what it remembers comes again with the next look. */
  detach(): void {
    clearTimeout(this.#retry);
    clearInterval(this.#ping);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.screen?.dispose();
    this.screen = null;
    if (this.link !== 'ended') this.link = 'connecting';
  }

  /** Leaves it; its program goes on. */
  leave(): void {
    this.#closed = true;
    this.detach();
  }
}

/** The terminals of one workspace. */
export class Terminals {
  all = $state.raw<TerminalSession[]>([]);
  active = $state<string | null>(null);
  /** Shown beside the active one. */
  beside = $state<string | null>(null);
  problem = $state('');
  opening = $state(false);
  readonly #base: string;

  constructor(readonly workspace: string) {
    this.#base = `/workspaces/${part(workspace)}/terminals`;
  }

  /** Attaches to those that are there already. */
  async adopt(names: Record<string, string>): Promise<void> {
    const { terminals } = await get<{ terminals: Terminal[] }>(this.#base);
    const fresh = terminals.filter(({ id }) => !this.all.some((session) => session.id === id));
    for (const { id, title } of fresh) this.#add(new TerminalSession(this.workspace, id, names[id] ?? title));
  }

  #add(session: TerminalSession): void {
    this.all = [...this.all, session];
    this.active ??= session.id;
  }

  async open(options: { cwd?: string; beside?: boolean } = {}): Promise<void> {
    if (this.opening) return;
    this.opening = true;
    this.problem = '';
    try {
      const wanted: OpenTerminal = { cols: 100, rows: 24, ...(options.cwd ? { cwd: pathOf(options.cwd) } : {}) };
      const made = await post<Terminal | Awaiting>(this.#base, wanted);
      if (isAwaiting(made)) {
        this.problem = 'Opening a terminal waits for an approval.';
        return;
      }
      this.#add(new TerminalSession(this.workspace, made.id, made.title));
      if (options.beside && this.active !== made.id) this.beside = made.id;
      else this.active = made.id;
    } catch (error) {
      this.problem = words(error);
    } finally {
      this.opening = false;
    }
  }

  async close(session: TerminalSession): Promise<void> {
    session.leave();
    const at = this.all.indexOf(session);
    this.all = this.all.filter((other) => other !== session);
    if (this.beside === session.id) this.beside = null;
    if (this.active === session.id) {
      this.active = this.beside ?? this.all[Math.min(at, this.all.length - 1)]?.id ?? null;
      if (this.active === this.beside) this.beside = null;
    }
    await del(`${this.#base}/${part(session.id)}`).catch(() => undefined);
  }

  async restart(session: TerminalSession): Promise<void> {
    await this.close(session);
    await this.open();
  }

  leave(): void {
    for (const session of this.all) session.leave();
    this.all = [];
  }
}

/** What shows terminals: the IDE's desk, or the tab of a session. */
export interface TerminalDesk {
  terminals: Terminals;
  layout: Layout;
  showTerminal(options?: { cwd?: string; fresh?: boolean; beside?: boolean }): void;
  focusTerminal(): void;
}
