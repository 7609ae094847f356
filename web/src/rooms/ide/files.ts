// The calls of the IDE to one workspace, each as one function.

import { ApiError, del, get, part, pause, post, raw, stream, type Options } from '$lib/api';
import {
  isAwaiting,
  type Awaiting,
  type Extracted,
  type FileChanged,
  type FileEntry,
  type FileOperation,
  type FileVersion,
  type Replaced,
  type ReplaceWanted,
  type Saved,
  type SearchEvent,
  type SearchQuery,
  type TrashEntry,
  type TreePage,
  type Upload,
} from '$lib/types';
import { digestOf } from './digest';
import { pathOf, queryOf } from './paths';
import * as unfinished from './unfinished';

/** Who this page is, so that it knows the echo of its own saves. */
export const clientId = `web-${crypto.getRandomValues(new Uint32Array(2)).join('')}`;

/** Files up to this size are opened in the editor, in bytes. */
export const EDITOR_BYTES_MAX = 10 * 1024 * 1024;
const PIECE = 4 * 1024 * 1024;
/** After so many failures in a row, about a minute, an upload waits for somebody to send the file again. */
const FAILURES_MAX = 6;

export type ArchiveFormat = 'zip' | 'tar_gz';

/** How a file is packed, as its name says. */
export function packedAs(key: string): ArchiveFormat | null {
  if (/\.zip$/i.test(key)) return 'zip';
  return /\.(tar\.gz|tgz)$/i.test(key) ? 'tar_gz' : null;
}

export interface Content {
  bytes: Uint8Array;
  etag: string;
  binary: boolean;
}

const unquoted = (etag: string | null) => (etag ?? '').replace(/^W\//, '').replace(/^"|"$/g, '');

async function contentOf(response: Response): Promise<Content> {
  return {
    bytes: new Uint8Array(await response.arrayBuffer()),
    etag: unquoted(response.headers.get('etag')),
    binary: response.headers.get('x-file-binary') === 'true',
  };
}

/** Whether it is the connection or the server that failed, and not the upload: it can be gone on with. */
function mayGoOn(error: unknown): boolean {
  return error instanceof ApiError && (error.isOffline || [401, 408, 429].includes(error.status) || (error.status >= 500 && error.status !== 507));
}

export class WorkspaceFiles {
  readonly base: string;

  constructor(readonly id: string) {
    this.base = `/workspaces/${part(id)}`;
  }

  tree(dir: string, cursor?: string, signal?: AbortSignal): Promise<TreePage> {
    return get(`${this.base}/tree`, { query: { ...queryOf(dir), depth: 1, ignored: true, limit: 2000, cursor }, signal });
  }

  stat(key: string): Promise<FileEntry> {
    return get(`${this.base}/files/stat`, { query: queryOf(key) });
  }

  /** The content; nothing when it still has the entity tag. */
  async read(key: string, known?: string): Promise<Content | null> {
    const headers: Record<string, string> = known ? { 'if-none-match': `"${known}"` } : {};
    const response = await raw(`${this.base}/files/content`, { query: queryOf(key), headers });
    return response.status === 304 ? null : contentOf(response);
  }

  /** What the file was before it was saved over, the latest first. */
  async history(key: string): Promise<FileVersion[]> {
    return (await get<{ versions: FileVersion[] }>(`${this.base}/files/history`, { query: queryOf(key) })).versions;
  }

  async version(key: string, version: string): Promise<Content> {
    return contentOf(await raw(`${this.base}/files/history/content`, { query: { ...queryOf(key), version } }));
  }

  /** Saves a version over what has that entity tag (`''`: over nothing). The event of it is told as somebody else's. */
  restoreVersion(key: string, version: string, etag: string): Promise<Saved | Awaiting> {
    return post(`${this.base}/files/history/restore`, { path: pathOf(key), version, ...(etag ? { if_match: etag } : {}) });
  }

  async save(
    key: string,
    bytes: BodyInit,
    when: { ifMatch?: string; ifNew?: boolean },
    options: { parents?: boolean; signal?: AbortSignal; client?: string } = {},
  ): Promise<Saved | Awaiting> {
    const headers: Record<string, string> = { 'content-type': 'application/octet-stream', 'x-client-id': options.client ?? clientId };
    if (when.ifMatch) headers['if-match'] = `"${when.ifMatch}"`;
    if (when.ifNew) headers['if-none-match'] = '*';
    const query = { ...queryOf(key), create_parents: options.parents || undefined };
    const response = await raw(`${this.base}/files/content`, { method: 'PUT', query, headers, body: bytes, signal: options.signal });
    return (await response.json()) as Saved | Awaiting;
  }

  operate(operation: FileOperation): Promise<FileChanged | Awaiting> {
    return post(`${this.base}/files/operations`, operation);
  }

  async trash(): Promise<TrashEntry[]> {
    return (await get<{ entries: TrashEntry[] }>(`${this.base}/files/trash`)).entries;
  }

  search(query: SearchQuery, signal: AbortSignal): AsyncGenerator<SearchEvent, void, undefined> {
    return stream<SearchEvent>(`${this.base}/files/search`, { body: query, signal });
  }

  /** What replacing would change. Nothing is written. */
  previewReplacing(wanted: ReplaceWanted, signal: AbortSignal): Promise<Replaced> {
    return post(`${this.base}/files/replace/preview`, wanted, { signal });
  }

  replace(wanted: ReplaceWanted): Promise<Replaced | Awaiting> {
    return post(`${this.base}/files/replace`, wanted);
  }

  /** Where a file or directory can be had packed. */
  archive(key: string, format: ArchiveFormat): { path: string; query: Record<string, string> } {
    return { path: `${this.base}/files/archive`, query: { ...queryOf(key), format } };
  }

  /** Unpacks an archive of the workspace into a directory of it. What is there already is never replaced. */
  async extract(key: string, dir: string, format: ArchiveFormat): Promise<Extracted | Awaiting> {
    const archive = await this.download(key);
    const headers = { 'content-type': 'application/octet-stream' };
    const response = await raw(`${this.base}/files/extract`, { method: 'POST', query: { ...queryOf(dir), format }, headers, body: archive });
    return (await response.json()) as Extracted | Awaiting;
  }

  async download(key: string): Promise<Blob> {
    const response = await raw(`${this.base}/files/content`, { query: { ...queryOf(key), download: 1 } });
    return response.blob();
  }

  /** Sends a file: small ones in one piece, large ones in pieces. Those are gone on with when the same file is sent again. */
  async upload(key: string, file: File, onProgress: (sent: number) => void, signal: AbortSignal): Promise<Saved | Awaiting> {
    if (file.size <= 2 * PIECE) {
      const saved = await this.save(key, file, { ifNew: true }, { parents: true, signal });
      onProgress(file.size);
      return saved;
    }
    const begun = (await this.#goneOn(key, file)) ?? (await this.#begin(key, file, signal));
    if (isAwaiting(begun)) return begun;
    const at = this.#upload(begun.id);
    try {
      onProgress(begun.offset);
      await this.#pieces(at, file, begun.offset, onProgress, signal);
      const saved = await post<Saved>(`${at}/finish`);
      unfinished.drop(this.id, key, file);
      return saved;
    } catch (error) {
      if (signal.aborted || !mayGoOn(error)) {
        // What arrived takes room until it is given up.
        unfinished.drop(this.id, key, file);
        await del(at).catch(() => undefined);
      }
      throw error;
    }
  }

  readonly #upload = (id: string) => `${this.base}/files/uploads/${part(id)}`;

  /** Whether sending this file again goes on where it stopped. */
  remembers(key: string, file: File): boolean {
    return unfinished.find(this.id, key, file) !== undefined;
  }

  /** The upload of this very file that was begun before, as far as it came. */
  async #goneOn(key: string, file: File): Promise<Upload | null> {
    const id = unfinished.find(this.id, key, file);
    if (id === undefined) return null;
    try {
      return await get<Upload>(this.#upload(id));
    } catch (error) {
      if (mayGoOn(error)) throw error;
      unfinished.drop(this.id, key, file);
      return null;
    }
  }

  async #begin(key: string, file: File, signal: AbortSignal): Promise<Upload | Awaiting> {
    const sha256 = await digestOf(file, signal);
    const wanted = { path: pathOf(key), size: file.size, sha256, if_none_match: true, create_parents: true };
    const begun = await post<Upload | Awaiting>(`${this.base}/files/uploads`, wanted, { signal });
    if (!isAwaiting(begun)) unfinished.keep(this.id, key, file, begun.id);
    return begun;
  }

  async #pieces(at: string, file: File, begin: number, onProgress: (sent: number) => void, signal: AbortSignal): Promise<void> {
    for (let offset = begin, failures = 0; offset < file.size; ) {
      try {
        // What arrived before something failed is known to the server alone.
        if (failures > 0) offset = (await get<Upload>(at, { signal })).offset;
        if (offset < file.size) offset = await this.#piece(at, file.slice(offset, offset + PIECE), offset, { signal });
        failures = 0;
      } catch (error) {
        const again = mayGoOn(error) || (error instanceof ApiError && error.status === 409);
        if (!again || signal.aborted || ++failures > FAILURES_MAX) throw error;
        await pause(500 * 2 ** failures, signal);
      }
      onProgress(offset);
    }
  }

  async #piece(at: string, piece: Blob, offset: number, options: Options): Promise<number> {
    const headers = { 'upload-offset': String(offset), 'content-type': 'application/octet-stream' };
    const response = await raw(at, { ...options, method: 'PATCH', headers, body: piece });
    return ((await response.json()) as Upload).offset;
  }
}
