// What can be done with a workspace in its present state, as a menu.

import type { Workspace } from '$lib/types';
import { separator, type MenuEntry } from '$lib/ui';
import * as acts from './acts';
import { canDelete, canOpen, canStart, canSuspend } from './words';

/** A name is asked for before something is done. */
export interface Ask {
  title: string;
  label: string;
  hint?: string;
  yes: string;
  value: string;
  run: (name: string) => Promise<unknown>;
}

export interface Asking {
  ask: (wanted: Ask) => void;
}

export function askSnapshot(workspace: Workspace): Ask {
  return {
    title: `Snapshot of “${workspace.name}”`,
    label: 'Name of the snapshot',
    hint: 'Keeps all files as they are now, to roll back to or to fork from.',
    yes: 'Take snapshot',
    value: `before ${new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date())}`,
    run: (name) => acts.snapshot(workspace, name),
  };
}

export function askFork(workspace: Workspace, snapshot?: { id: string; name: string }): Ask {
  return {
    title: snapshot ? `Fork the snapshot “${snapshot.name}”` : `Fork “${workspace.name}”`,
    label: 'Name of the new workspace',
    hint: 'It begins with the same files and goes its own way; limits and network stay the same.',
    yes: 'Fork',
    value: `${workspace.name} fork`.slice(0, 100),
    run: (name) => acts.fork(workspace, name, snapshot?.id),
  };
}

export function askRename(workspace: Workspace): Ask {
  return {
    title: `Rename “${workspace.name}”`,
    label: 'Name',
    yes: 'Rename',
    value: workspace.name,
    run: (name) => acts.change(workspace, { name }),
  };
}

export function menuOf(workspace: Workspace, { ask }: Asking): MenuEntry[] {
  if (workspace.state === 'deleted') {
    return [
      { label: 'Restore', icon: 'restore', run: () => void acts.restore(workspace) },
      separator,
      { label: 'Remove for good…', icon: 'trash', danger: true, run: () => void acts.purge(workspace) },
    ];
  }
  return [
    canOpen(workspace) && { label: 'Open', icon: 'arrow-right', keys: 'Enter', run: () => acts.open(workspace) },
    canStart(workspace) && { label: workspace.state === 'suspended' ? 'Resume' : 'Start', icon: 'play', run: () => void acts.start(workspace) },
    canSuspend(workspace) && { label: 'Suspend', icon: 'pause', hint: 'Ends its programs and keeps its files', run: () => void acts.suspend(workspace) },
    separator,
    { label: 'Take snapshot…', icon: 'camera', run: () => ask(askSnapshot(workspace)) },
    { label: 'Fork…', icon: 'fork', run: () => ask(askFork(workspace)) },
    { label: 'Rename…', icon: 'edit', run: () => ask(askRename(workspace)) },
    { label: 'Export as tar', icon: 'download', run: () => void acts.exportTo(workspace) },
    separator,
    { label: 'Delete', icon: 'trash', keys: 'Delete', danger: true, disabled: !canDelete(workspace), run: () => void acts.remove(workspace) },
  ];
}
