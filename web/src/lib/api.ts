// The one way to the server: typed calls, problems as ApiError, the token renewed silently, streams that come back.

import { connection } from './connection.svelte';
import { accept, accessToken, forget, isDue, session } from './session.svelte';
import { frames, type Frame } from './sse';
import type { SignedIn } from './types';

export const BASE = '/api/v1';

/** Why the server did not do something (RFC 9457), or why it could not be asked: code `offline`. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  /** The stable code: `not_found`, `edit_conflict`, `policy_denied`, … */
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly requestId?: string;
  /** Seconds to wait, with `rate_limited`. */
  readonly retryAfter?: number;
  /** What is there now, with `edit_conflict`. */
  readonly currentEtag?: string;
  /** Everything the server said. */
  readonly problem: Record<string, unknown>;

  constructor(status: number, problem: Record<string, unknown>, retryAfter?: number) {
    const text = (key: string) => (typeof problem[key] === 'string' ? (problem[key] as string) : undefined);
    const title = text('title') ?? 'The request failed';
    super(text('detail') ?? title);
    this.status = status;
    this.code = text('code') ?? `http_${status}`;
    this.title = title;
    this.detail = this.message;
    this.requestId = text('request_id') ?? text('instance');
    this.currentEtag = text('current_etag');
    this.retryAfter = retryAfter;
    this.problem = problem;
  }

  get isOffline(): boolean {
    return this.code === 'offline';
  }
}

/** The sentence to show for anything that was thrown. */
export function words(error: unknown): string {
  if (error instanceof ApiError) return error.detail;
  return error instanceof Error ? error.message : String(error);
}

/** Whether it was thrown because somebody stopped waiting. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

export type QueryValue = string | number | boolean | undefined | null;

export interface Options {
  query?: Record<string, QueryValue>;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

export interface RawOptions extends Options {
  method?: string;
  /** Sent as it is. */
  body?: BodyInit | null;
  /** Statuses below 400 pass; these pass too, for example 412. */
  accept?: number[];
}

/** The address of a path of the API. */
export function url(path: string, query?: Record<string, QueryValue>): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') search.set(key, String(value));
  }
  const text = search.toString();
  return BASE + path + (text ? `?${text}` : '');
}

/** One id or name as part of a path. */
export const part = encodeURIComponent;

async function problemOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => '');
  let problem: Record<string, unknown> = {};
  try {
    const read: unknown = JSON.parse(text);
    if (typeof read === 'object' && read !== null) problem = read as Record<string, unknown>;
  } catch {
    problem = { detail: `The server answered ${response.status} without saying why.` };
  }
  const after = Number(response.headers.get('retry-after') ?? NaN);
  return new ApiError(response.status, problem, Number.isFinite(after) ? after : undefined);
}

const offline = () =>
  new ApiError(0, {
    code: 'offline',
    title: 'Reeve cannot be reached',
    detail: 'Reeve cannot be reached. Check the connection and whether the server runs.',
  });

async function send(path: string, options: RawOptions): Promise<Response> {
  const headers = new Headers(options.headers);
  const token = accessToken();
  if (token) headers.set('authorization', `Bearer ${token}`);
  const init: RequestInit = { method: options.method ?? 'GET', headers, credentials: 'same-origin', cache: 'no-store' };
  if (options.body !== undefined && options.body !== null) init.body = options.body;
  if (options.signal) init.signal = options.signal;
  try {
    const response = await fetch(url(path, options.query), init);
    connection.reached();
    return response;
  } catch (error) {
    if (isAbort(error)) throw error;
    connection.lost();
    throw offline();
  }
}

let renewing: Promise<boolean> | null = null;

/** Renews the token through the cookie; one attempt at a time, in all tabs together, since the cookie changes with it. */
export function renew(): Promise<boolean> {
  renewing ??= (async () => {
    const attempt = async () => {
      const response = await send('/auth/refresh', { method: 'POST' });
      if (response.ok) {
        accept((await response.json()) as SignedIn);
        return true;
      }
      if (response.status === 401 || response.status === 403 || response.status === 400) return false;
      throw await problemOf(response);
    };
    try {
      return navigator.locks ? await navigator.locks.request('reeve-renew', attempt) : await attempt();
    } finally {
      renewing = null;
    }
  })();
  return renewing;
}

/** Any call; the answer as it came. Throws an ApiError when it was not done. */
export async function raw(path: string, options: RawOptions = {}): Promise<Response> {
  if (isDue()) await renew().catch(() => false);
  let response = await send(path, options);
  const mayRenew = !path.startsWith('/auth/') || path === '/auth/me' || path.startsWith('/auth/sessions');
  if (response.status === 401 && mayRenew && session.state !== 'signed-out') {
    if (await renew()) response = await send(path, options);
    if (response.status === 401 && session.state === 'signed-in') forget('expired');
  }
  if (response.status < 400 || options.accept?.includes(response.status)) return response;
  throw await problemOf(response);
}

async function call<T>(method: string, path: string, body: unknown, options: Options): Promise<T> {
  const headers = { ...options.headers };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const response = await raw(path, {
    ...options,
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
  });
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

export const get = <T>(path: string, options: Options = {}) => call<T>('GET', path, undefined, options);
export const post = <T>(path: string, body?: unknown, options: Options = {}) => call<T>('POST', path, body, options);
export const put = <T>(path: string, body?: unknown, options: Options = {}) => call<T>('PUT', path, body, options);
export const patch = <T>(path: string, body?: unknown, options: Options = {}) => call<T>('PATCH', path, body, options);
export const del = <T>(path: string, options: Options = {}) => call<T>('DELETE', path, undefined, options);

/** A page of a list whose next cursor comes in the header X-Next-Cursor. */
export async function page<T>(path: string, options: Options = {}): Promise<{ items: T[]; next?: string }> {
  const response = await raw(path, options);
  return { items: (await response.json()) as T[], next: response.headers.get('x-next-cursor') ?? undefined };
}

export interface StreamOptions extends Options {
  method?: string;
  /** Sent as JSON. */
  body?: unknown;
  /** The server has answered; frames follow. */
  onOpen?: () => void;
}

/** The data of a stream of server-sent events, until it ends or the signal stops it. */
export async function* stream<T>(path: string, options: StreamOptions = {}): AsyncGenerator<T, void, undefined> {
  for await (const frame of streamFrames<T>(path, options)) yield frame.data;
}

/** The same with the id of each frame. */
export async function* streamFrames<T>(path: string, options: StreamOptions = {}): AsyncGenerator<Frame<T>, void, undefined> {
  const headers: Record<string, string> = { accept: 'text/event-stream', ...options.headers };
  if (options.body !== undefined) headers['content-type'] = 'application/json';
  const response = await raw(path, {
    query: options.query,
    signal: options.signal,
    method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
    headers,
    body: options.body === undefined ? null : JSON.stringify(options.body),
  });
  options.onOpen?.();
  if (!response.body) return;
  try {
    yield* frames<T>(response.body);
  } catch (error) {
    if (isAbort(error) || options.signal?.aborted) return;
    throw error instanceof ApiError ? error : offline();
  }
}

export interface Follow<T> {
  query?: Record<string, QueryValue>;
  /** Each frame's data. */
  onData: (data: T) => void;
  /** The stream is open (again): look at everything once, then follow. */
  onOpen?: () => unknown;
  /** It broke and will be tried again. */
  onBroken?: (error: unknown) => void;
}

/** Fulfilled after so long, or when the connection is back, or when nobody waits any more. */
export const pause = (ms: number, signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      window.removeEventListener('online', done);
      resolve();
    }
    signal.addEventListener('abort', done);
    window.addEventListener('online', done);
  });

/** Follows a stream for as long as somebody looks: comes back by itself with growing pauses. Returns how to stop. */
export function follow<T>(path: string, { query, onData, onOpen, onBroken }: Follow<T>): () => void {
  const stop = new AbortController();
  void (async () => {
    let wait = 500;
    let lastId: string | undefined;
    while (!stop.signal.aborted) {
      try {
        const headers: Record<string, string> = lastId === undefined ? {} : { 'last-event-id': lastId };
        // Looked at once the stream is open, so that nothing is missed in between.
        const opened = () => void onOpen?.();
        for await (const frame of streamFrames<T>(path, { query, headers, signal: stop.signal, onOpen: opened })) {
          wait = 500;
          if (frame.id !== undefined) lastId = frame.id;
          onData(frame.data);
        }
      } catch (error) {
        if (stop.signal.aborted || isAbort(error)) return;
        if (error instanceof ApiError && [403, 404].includes(error.status)) {
          onBroken?.(error);
          return;
        }
        onBroken?.(error);
      }
      if (stop.signal.aborted) return;
      await pause(wait + Math.random() * 250, stop.signal);
      wait = Math.min(wait * 2, 15_000);
    }
  })();
  return () => stop.abort();
}

/** Signs in with an e-mail address and password, an API key, or a one-time link. */
export async function signIn(with_: { email: string; password: string } | { api_key: string } | { link: string }): Promise<void> {
  accept(await post<SignedIn>('/auth/login', with_));
}

export async function signOut(): Promise<void> {
  await post('/auth/logout').catch(() => undefined);
  forget('signed-out');
}

/** Hands bytes to the browser's downloads. */
export function saveAs(bytes: Blob, name: string): void {
  const address = URL.createObjectURL(bytes);
  const anchor = document.createElement('a');
  anchor.href = address;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
