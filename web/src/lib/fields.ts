// Values of any shape as rows of a table: a person reads names and words, never JSON.

import { names } from './names.svelte';
import { absolute, bytes, duration, title } from './words';

export interface Field {
  /** Where it stands: `Limits › Memory`. */
  label: string;
  text: string;
  /** Code, hashes, long texts: a fixed-width block. */
  block?: boolean;
  /** What it is exactly, where a name stands for it. */
  exact?: string;
}

const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/;
const hash = /^(sha256:)?[0-9a-f]{64}$/;

/** The fields of a value, nested ones named by their way. Empty ones are left out unless `all`. */
export function fieldsOf(value: unknown, all = false): Field[] {
  const rows: Field[] = [];
  walk(value, [], rows, all);
  return rows;
}

function walk(value: unknown, way: string[], rows: Field[], all: boolean): void {
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== 'object' || item === null)) {
      if (value.length || all) add(rows, way, value.length ? value.map((item) => plain(item)).join('\n') : 'none', value.length > 1);
      return;
    }
    value.forEach((item, index) => walk(item, [...way, String(index + 1)], rows, all));
    return;
  }
  if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) walk(item, [...way, key], rows, all);
    return;
  }
  if ((value === null || value === undefined || value === '') && !all) return;
  const key = way[way.length - 1] ?? '';
  if (key === 'workspace_id' && typeof value === 'string') {
    const name = names.workspace(value);
    return add(rows, way, name, false, name === value ? undefined : value);
  }
  const text = worded(key, value);
  add(rows, way, text, text.includes('\n') || text.length > 120 || hash.test(text));
}

function add(rows: Field[], way: string[], text: string, block: boolean, exact?: string): void {
  const label = way.map((key) => title(key.replace(/_(bytes|ms|millis|at)$/, '').replace(/^workspace_id$/, 'workspace'))).join(' › ');
  rows.push({ label: label || 'Value', text, block, exact });
}

function worded(key: string, value: unknown): string {
  if (typeof value === 'number') {
    if (key.endsWith('_bytes') || key === 'size') return bytes(value);
    if (key.endsWith('_ms')) return duration(value);
    if (key === 'cpu_millis') return `${value / 1000} cores`;
    return String(value);
  }
  if (typeof value === 'string' && instant.test(value)) return absolute(value);
  return plain(value);
}

function plain(value: unknown): string {
  if (value === null || value === undefined || value === '') return 'none';
  if (value === true) return 'yes';
  if (value === false) return 'no';
  return String(value);
}
