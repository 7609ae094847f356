// What a conversation does with the files of its workspace: showing an edit before it is made, and taking one back.

import { ApiError, words } from '$lib/api';
import { isAwaiting } from '$lib/types';
import { toasts } from '$lib/ui';
import { WorkspaceFiles } from '../rooms/ide/files';
import { keyOf, nameOf, pathOf } from '../rooms/ide/paths';
import { decode, encode } from '../rooms/ide/text';
import { compare, hunksOf, without, withParts, type Hunk } from './diff';
import type { FileDiff } from './types';

/** Not the page's own name: its editors are to follow what is changed back, as they follow others. */
const CLIENT = 'web-conversation';

const text = (value: unknown) => (typeof value === 'string' ? value : undefined);

/** A change that somebody is asked about. */
export interface Proposal extends FileDiff {
  /** The file that it was read against. Absent for a new one, and where only a piece of the file is known. */
  on?: { etag: string; bom: boolean };
}

/**
 * The change that a call asks for, where its arguments say so: an exact piece of a file for another, or a whole file. Nothing
 * when they are those of a tool that we do not know.
 */
export async function proposed(workspaceId: string, directory: string, given: unknown): Promise<Proposal | null> {
  const values = (typeof given === 'object' && given !== null ? given : {}) as Record<string, unknown>;
  const path = text(values['path']) ?? text(values['file_path']);
  const whole = text(values['content']);
  const from = text(values['old']) ?? text(values['old_string']);
  const to = text(values['new']) ?? text(values['new_string']);
  if (path === undefined || (whole === undefined && (from === undefined || to === undefined))) return null;
  const key = keyOf(path.startsWith('/') || !directory ? path : `${directory}/${path}`);
  const before = await current(workspaceId, key);
  if (before === null) return whole === undefined ? { path: key, old: from ?? '', new: to ?? '' } : { path: key, new: whole };
  const { text: old, ...on } = before;
  if (whole !== undefined) return { path: key, old, new: whole, on };
  if (!old.includes(from ?? '')) return { path: key, old: from ?? '', new: to ?? '' };
  const after = values['replace_all'] === true ? old.replaceAll(from ?? '', () => to ?? '') : old.replace(from ?? '', () => to ?? '');
  return { path: key, old, new: after, on };
}

async function current(workspaceId: string, key: string): Promise<{ text: string; etag: string; bom: boolean } | null> {
  try {
    const content = await new WorkspaceFiles(workspaceId).read(key);
    const read = content && !content.binary ? decode(content.bytes) : null;
    return content && read ? { text: read.text, etag: content.etag, bom: read.bom } : null;
  } catch {
    // A new file, or a workspace that rests: the change is shown as far as its arguments go.
    return null;
  }
}

/** Some parts of a change, saved; or why they were not, and whether the file is another one by now. */
export type PartlySaved = { applied: FileDiff } | { problem: string; stale: boolean };

/** Saves a file with some parts of the change that is proposed for it: a person's own act, and never over somebody else's. */
export async function applyParts(workspaceId: string, proposal: Proposal, wanted: ReadonlySet<number>): Promise<PartlySaved> {
  const { path, old, on } = proposal;
  const name = nameOf(path);
  if (old === undefined || !on) return { problem: `${name} can be written as a whole only. Approve or reject all of it.`, stale: false };
  try {
    const text = withParts(old, proposal.new, wanted);
    const saved = await new WorkspaceFiles(workspaceId).save(path, encode(text, on.bom), { ifMatch: on.etag }, { client: CLIENT });
    if (isAwaiting(saved)) return { problem: `Saving ${name} waits for an approval, so the agent was not answered yet. Reject, or come back when it is saved.`, stale: false };
    return { applied: { path, old, new: text } };
  } catch (error) {
    const stale = error instanceof ApiError && (error.status === 412 || error.status === 404 || error.code === 'edit_conflict');
    return { problem: stale ? `${name} was changed by somebody else meanwhile, so nothing was saved. Look at the parts again.` : `${name} could not be saved. ${words(error)}`, stale };
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
