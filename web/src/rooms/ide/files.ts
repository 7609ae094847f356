// The calls of the IDE to one workspace, each as one function.

import { del, get, part, post, raw, stream, type Options } from '$lib/api';
import {
  isAwaiting,
  type Awaiting,
  type FileChanged,
  type FileEntry,
  type FileOperation,
  type Saved,
  type SearchEvent,
  type SearchQuery,
  type TrashEntry,
  type TreePage,
  type Upload,
} from '$lib/types';
import { pathOf, queryOf } from './paths';

/** Who this page is, so that it knows the echo of its own saves. */
export const clientId = `web-${crypto.getRandomValues(new Uint32Array(2)).join('')}`;

/** Files up to this size are opened in the editor, in bytes. */
export const EDITOR_BYTES_MAX = 10 * 1024 * 1024;
const PIECE = 4 * 1024 * 1024;

export interface Content {
  bytes: Uint8Array;
  etag: string;
  binary: boolean;
}

const unquoted = (etag: string | null) => (etag ?? '').replace(/^W\//, '').replace(/^"|"$/g, '');

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
    if (response.status === 304) return null;
    return {
      bytes: new Uint8Array(await response.arrayBuffer()),
      etag: unquoted(response.headers.get('etag')),
      binary: response.headers.get('x-file-binary') === 'true',
    };
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

  async archive(key: string): Promise<Blob> {
    const response = await raw(`${this.base}/files/archive`, { query: { ...queryOf(key), format: 'zip' } });
    return response.blob();
  }

  async download(key: string): Promise<Blob> {
    const response = await raw(`${this.base}/files/content`, { query: { ...queryOf(key), download: 1 } });
    return response.blob();
  }

  /** Sends a file: small ones in one piece, large ones in pieces that can be resumed. */
  async upload(key: string, file: File, onProgress: (sent: number) => void, signal?: AbortSignal): Promise<Saved | Awaiting> {
    if (file.size <= 2 * PIECE || !crypto.subtle) {
      const saved = await this.save(key, file, { ifNew: true }, { parents: true, signal });
      onProgress(file.size);
      return saved;
    }
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', await file.arrayBuffer()));
    const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
    const begun = await post<Upload | Awaiting>(`${this.base}/files/uploads`, {
      path: pathOf(key),
      size: file.size,
      sha256,
      if_none_match: true,
      create_parents: true,
    });
    if (isAwaiting(begun)) return begun;
    const at = `${this.base}/files/uploads/${part(begun.id)}`;
    try {
      await this.#pieces(at, file, begun.offset, onProgress, signal);
    } catch (error) {
      // What arrived takes room until it is given up.
      await del(at).catch(() => undefined);
      throw error;
    }
    return post<Saved>(`${at}/finish`);
  }

  async #pieces(at: string, file: File, begin: number, onProgress: (sent: number) => void, signal?: AbortSignal): Promise<void> {
    for (let offset = begin, failures = 0; offset < file.size; ) {
      try {
        offset = await this.#piece(at, file.slice(offset, offset + PIECE), offset, { signal });
        failures = 0;
      } catch (error) {
        if (signal?.aborted || ++failures > 5) throw error;
        await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** failures));
        offset = (await get<Upload>(at)).offset;
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
