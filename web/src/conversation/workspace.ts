// What a conversation does with the files of its workspace: showing an edit before it is made, and taking one back.

import { ApiError } from '$lib/api';
import { isAwaiting } from '$lib/types';
import { toasts } from '$lib/ui';
import { WorkspaceFiles } from '../rooms/ide/files';
import { keyOf, nameOf, pathOf } from '../rooms/ide/paths';
import { decode, encode } from '../rooms/ide/text';
import { compare, hunksOf, without, type Hunk } from './diff';
import type { FileDiff } from './types';

/** Not the page's own name: its editors are to follow what is changed back, as they follow others. */
const CLIENT = 'web-conversation';

const text = (value: unknown) => (typeof value === 'string' ? value : undefined);

/**
 * The change that a call asks for, where its arguments say so: an exact piece of a file for another, or a whole file. Nothing
 * when they are those of a tool that we do not know.
 */
export async function proposed(workspaceId: string, directory: string, given: unknown): Promise<FileDiff | null> {
  const values = (typeof given === 'object' && given !== null ? given : {}) as Record<string, unknown>;
  const path = text(values['path']) ?? text(values['file_path']);
  const whole = text(values['content']);
  const from = text(values['old']) ?? text(values['old_string']);
  const to = text(values['new']) ?? text(values['new_string']);
  if (path === undefined || (whole === undefined && (from === undefined || to === undefined))) return null;
  const key = keyOf(path.startsWith('/') || !directory ? path : `${directory}/${path}`);
  const before = await current(workspaceId, key);
  if (whole !== undefined) return { path: key, old: before ?? undefined, new: whole };
  if (before === null || !before.includes(from ?? '')) return { path: key, old: from ?? '', new: to ?? '' };
  const after = values['replace_all'] === true ? before.replaceAll(from ?? '', () => to ?? '') : before.replace(from ?? '', () => to ?? '');
  return { path: key, old: before, new: after };
}

async function current(workspaceId: string, key: string): Promise<string | null> {
  try {
    const content = await new WorkspaceFiles(workspaceId).read(key);
    return content && !content.binary ? (decode(content.bytes)?.text ?? null) : null;
  } catch {
    // A new file, or a workspace that rests: the change is shown as far as its arguments go.
    return null;
  }
}

/**
 * Takes a change back, or one part of it, as long as nobody else has changed those lines since. What was saved meanwhile is
 * kept: the save is refused when the file is no longer the one that was read.
 */
export async function undo(workspaceId: string, diff: FileDiff, hunk: Hunk | null): Promise<boolean> {
  const files = new WorkspaceFiles(workspaceId);
  const key = keyOf(diff.path);
  const name = nameOf(key);
  try {
    const content = await files.read(key);
    const read = content && !content.binary ? decode(content.bytes) : null;
    if (!content || !read) throw new Error(`${name} is no text now.`);
    const lines = read.text.replace(/\r\n/g, '\n');
    if (diff.old === undefined && !hunk && lines === diff.new) {
      const trashed = await files.operate({ op: 'trash', path: pathOf(key) });
      if (isAwaiting(trashed)) return waiting(name);
      toasts.good(`${name} is in the trash of the workspace`);
      return true;
    }
    const before = hunk ? without(lines, hunk) : lines === diff.new ? (diff.old ?? '') : allWithout(lines, diff);
    if (before === null) {
      toasts.bad(`${name} was changed there since, so nothing was undone. Open it and change it back by hand.`);
      return false;
    }
    const kept = read.eol === '\r\n' ? before.replace(/\n/g, '\r\n') : before;
    const saved = await files.save(key, encode(kept, read.bom), { ifMatch: content.etag }, { client: CLIENT });
    if (isAwaiting(saved)) return waiting(name);
    toasts.good(hunk ? `That part of ${name} is as it was` : `${name} is as it was`);
    return true;
  } catch (error) {
    const gone = error instanceof ApiError && (error.status === 412 || error.code === 'edit_conflict');
    toasts.bad(gone ? `${name} was saved by somebody else just now. Try again.` : `${name} could not be changed back.`, gone ? undefined : error);
    return false;
  }
}

function allWithout(now: string, diff: FileDiff): string | null {
  const hunks = hunksOf(compare(diff.old ?? '', diff.new));
  // From the end, so that the earlier ones stay where they were.
  return [...hunks].reverse().reduce<string | null>((rest, hunk) => (rest === null ? null : without(rest, hunk)), now);
}

function waiting(name: string): boolean {
  toasts.info(`Changing ${name} back waits for an approval.`);
  return false;
}
