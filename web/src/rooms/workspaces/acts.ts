// What can be done with a workspace. Each act says what it did, offers the way back, and tells when people are asked first.

import { del, part, post, patch, raw } from '$lib/api';
import { router } from '$lib/router.svelte';
import { saveStream } from '$lib/saving';
import { isAwaiting, type Awaiting, type NewWorkspace, type Snapshot, type Workspace } from '$lib/types';
import { confirm, toasts } from '$lib/ui';
import { workspaces } from './store.svelte';

const path = (workspace: Workspace) => `/workspaces/${part(workspace.id)}`;

/** Policy wants people to be asked: says so, with the way to the question. */
export function tellAwaiting(answer: Awaiting): void {
  toasts.info('Waiting for approval', {
    detail: answer.message,
    action: { label: 'Show', run: () => router.go(`/approvals?id=${answer.approval_id}`) },
  });
}

/** Does it and takes the workspace that comes back; null when it was not done (yet). */
async function act(work: Promise<Workspace | Awaiting>, failure: string): Promise<Workspace | null> {
  try {
    const answer = await work;
    if (isAwaiting(answer)) {
      tellAwaiting(answer);
      return null;
    }
    workspaces.put(answer);
    return answer;
  } catch (error) {
    toasts.bad(failure, error);
    return null;
  }
}

/** Throws what went wrong: the dialog shows it beside its fields. */
export async function create(wanted: NewWorkspace): Promise<Workspace | null> {
  const answer = await post<Workspace | Awaiting>('/workspaces', wanted);
  if (isAwaiting(answer)) {
    tellAwaiting(answer);
    return null;
  }
  workspaces.put(answer);
  toasts.good(`“${answer.name}” is ready`, { action: { label: 'Open', run: () => open(answer) } });
  return answer;
}

export function open(workspace: Workspace): void {
  router.go(`/workspaces/${part(workspace.id)}`);
}

export const start = (workspace: Workspace) =>
  act(post(`${path(workspace)}/start`), `“${workspace.name}” could not be started`);

export const suspend = (workspace: Workspace) =>
  act(post(`${path(workspace)}/suspend`), `“${workspace.name}” could not be suspended`);

export const change = (workspace: Workspace, fields: { name?: string; description?: string; idle_timeout_ms?: number }) =>
  patch<Workspace>(path(workspace), fields).then((answer) => workspaces.put(answer));

export async function fork(workspace: Workspace, name: string, snapshotId?: string): Promise<void> {
  const answer = await post<Workspace | Awaiting>(`${path(workspace)}/fork`, { name, snapshot_id: snapshotId });
  if (isAwaiting(answer)) return tellAwaiting(answer);
  workspaces.put(answer);
  toasts.good(`Forked as “${answer.name}”`, { action: { label: 'Open', run: () => open(answer) } });
}

export async function snapshot(workspace: Workspace, name: string): Promise<Snapshot | null> {
  const answer = await post<Snapshot | Awaiting>(`${path(workspace)}/snapshots`, { name });
  if (isAwaiting(answer)) {
    tellAwaiting(answer);
    return null;
  }
  toasts.good(`Snapshot “${answer.name}” of “${workspace.name}” is kept`);
  return answer;
}

export async function rollBack(workspace: Workspace, to: Snapshot): Promise<void> {
  const sure = await confirm({
    title: `Roll back “${workspace.name}”?`,
    text: `Its files become those of the snapshot “${to.name}”. What was changed since is lost, unless you take a snapshot first. Programs and terminals are ended.`,
    yes: 'Roll back',
    danger: true,
  });
  if (!sure) return;
  const answer = await act(post(`${path(workspace)}/snapshots/${part(to.id)}/roll-back`), 'It could not be rolled back');
  if (answer) toasts.good(`“${workspace.name}” is back at “${to.name}”`);
}

export async function dropSnapshot(workspace: Workspace, which: Snapshot): Promise<boolean> {
  const sure = await confirm({
    title: `Drop the snapshot “${which.name}”?`,
    text: 'It cannot be brought back. The workspace itself stays as it is.',
    yes: 'Drop',
    danger: true,
  });
  if (!sure) return false;
  try {
    const answer = await del<unknown>(`${path(workspace)}/snapshots/${part(which.id)}`);
    if (isAwaiting(answer)) {
      tellAwaiting(answer);
      return false;
    }
    return true;
  } catch (error) {
    toasts.bad('The snapshot could not be dropped', error);
    return false;
  }
}

/** Into the trash: no question, and a way back. */
export async function remove(workspace: Workspace): Promise<void> {
  const answer = await act(del(path(workspace)), `“${workspace.name}” could not be deleted`);
  if (!answer) return;
  toasts.good(`“${workspace.name}” is deleted`, { action: { label: 'Undo', run: () => void restore(answer) } });
}

export async function restore(workspace: Workspace): Promise<void> {
  const answer = await act(post(`${path(workspace)}/restore`), `“${workspace.name}” could not be restored`);
  if (answer) toasts.good(`“${workspace.name}” is restored`);
}

export async function purge(workspace: Workspace): Promise<void> {
  const sure = await confirm({
    title: `Remove “${workspace.name}” for good?`,
    text: 'Its files and its snapshots are gone afterwards. This cannot be undone.',
    yes: 'Remove for good',
    danger: true,
  });
  if (!sure) return;
  try {
    const answer = await del<unknown>(path(workspace), { query: { force: true } });
    if (isAwaiting(answer)) return tellAwaiting(answer);
    workspaces.remove(workspace.id);
    toasts.good(`“${workspace.name}” is removed for good`);
  } catch (error) {
    toasts.bad(`“${workspace.name}” could not be removed`, error);
  }
}

/** Makes a workspace of an exported one. Throws what went wrong: the dialog shows it beside its fields. */
export async function importFrom(file: File, name: string, template: string, signal: AbortSignal): Promise<Workspace | null> {
  const headers = { 'content-type': 'application/x-tar' };
  const response = await raw('/workspaces/import', { method: 'POST', query: { name, template }, headers, body: file, signal });
  const answer = (await response.json()) as Workspace | Awaiting;
  if (isAwaiting(answer)) {
    tellAwaiting(answer);
    return null;
  }
  workspaces.put(answer);
  toasts.good(`“${answer.name}” is imported`, { action: { label: 'Open', run: () => open(answer) } });
  return answer;
}

export async function exportTo(workspace: Workspace): Promise<void> {
  try {
    await saveStream(`${path(workspace)}/export`, {}, `${workspace.name.replace(/[^\w.-]+/g, '-')}.tar`);
  } catch (error) {
    toasts.bad(`“${workspace.name}” could not be exported`, error);
  }
}
