// Paths of a workspace as keys of maps: text as it is, bytes that are no text behind a NUL, which no path holds.

import type { WorkspacePath } from '$lib/types';

const BYTES = '\0';

/** The path as one string. */
export function keyOf(path: WorkspacePath): string {
  if (typeof path !== 'string') return BYTES + path.b64;
  return path.replace(/^\/workspace(\/|$)/, '').replace(/^\/+/, '');
}

/** The path as the API takes it. */
export function pathOf(key: string): WorkspacePath {
  return key.startsWith(BYTES) ? { b64: key.slice(1) } : key;
}

/** The path as part of a query. */
export function queryOf(key: string): Record<string, string> {
  return key.startsWith(BYTES) ? { path_b64: key.slice(1) } : { path: key || '.' };
}

function bytesShown(key: string): string {
  return Array.from(atob(key.slice(1)), (sign) => {
    const code = sign.charCodeAt(0);
    return code >= 0x20 && code < 0x7f ? sign : `\\x${code.toString(16).padStart(2, '0')}`;
  }).join('');
}

/** For people, below the workspace. */
export function shown(key: string): string {
  return key.startsWith(BYTES) ? bytesShown(key) : key;
}

/** The last name. */
export function nameOf(key: string): string {
  const text = shown(key);
  return text.slice(text.lastIndexOf('/') + 1);
}

/** The directory that holds it; '' is the root. */
export function parentOf(key: string): string {
  if (key.startsWith(BYTES)) {
    const bytes = atob(key.slice(1));
    const dir = bytes.slice(0, Math.max(bytes.lastIndexOf('/'), 0));
    const octets = Uint8Array.from(dir, (sign) => sign.charCodeAt(0));
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(octets);
    } catch {
      return BYTES + btoa(dir);
    }
  }
  return key.slice(0, Math.max(key.lastIndexOf('/'), 0));
}

export function join(dir: string, name: string): string {
  return dir ? `${dir}/${name}` : name;
}

/** Whether it is the directory itself or lies below it. */
export function isWithin(key: string, dir: string): boolean {
  return dir === '' || key === dir || key.startsWith(`${dir}/`);
}

/** The extension in lower case, without the dot. */
export function extensionOf(key: string): string {
  const name = nameOf(key).toLowerCase();
  const dot = name.lastIndexOf('.');
  return dot > 0 ? name.slice(dot + 1) : '';
}

/** `report (copy).txt`, then `report (copy 2).txt`. */
export function copyName(name: string, taken: Set<string>): string {
  const dot = name.lastIndexOf('.');
  const stem = dot > 0 ? name.slice(0, dot) : name;
  const rest = dot > 0 ? name.slice(dot) : '';
  for (let count = 1; ; count++) {
    const next = `${stem} (copy${count > 1 ? ` ${count}` : ''})${rest}`;
    if (!taken.has(next)) return next;
  }
}

export function sizeShown(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  for (const [unit, size] of [['GB', 1 << 30], ['MB', 1 << 20], ['kB', 1024]] as const) {
    if (bytes >= size) return `${(bytes / size).toFixed(bytes < 10 * size ? 1 : 0)} ${unit}`;
  }
  return '';
}
