// The rooms: which address shows which, loaded when it is first opened.

import type { Component } from 'svelte';
import type { Route } from '$lib/router.svelte';
import type { IconName } from '$lib/ui';

export interface Room {
  name: 'workspaces' | 'ide' | 'sessions' | 'approvals' | 'audit';
  /** For the window's title and the rail. */
  title: string;
  icon: IconName;
  /** Where the rail goes. */
  path: string;
  /** After G, where it goes by the keyboard. */
  key: string;
}

export const rail: Room[] = [
  { name: 'workspaces', title: 'Workspaces', icon: 'cube', path: '/workspaces', key: 'W' },
  { name: 'sessions', title: 'Sessions', icon: 'chat', path: '/sessions', key: 'S' },
  { name: 'approvals', title: 'Approvals', icon: 'inbox', path: '/approvals', key: 'A' },
  { name: 'audit', title: 'Audit', icon: 'audit', path: '/audit', key: 'J' },
];

export interface Shown {
  name: string;
  props: Record<string, unknown>;
}

/** The room of an address; nothing when there is none. */
export function roomOf(route: Route): Shown | null {
  const [first, id] = route.parts;
  if (first === 'workspaces' && id && route.parts.length === 2) return { name: 'ide', props: { workspaceId: id } };
  if (first === 'sessions' && id && route.parts.length === 2) return { name: 'sessions', props: { sessionId: id } };
  if (route.parts.length > 1) return null;
  if (first === undefined || first === 'sign-in') return { name: 'workspaces', props: {} };
  return rail.some((room) => room.name === first) ? { name: first, props: {} } : null;
}

const loaders = import.meta.glob<{ default: Component<Record<string, unknown>> }>('../rooms/*/index.ts');

/** The component of a room. */
export async function load(name: string): Promise<Component<Record<string, unknown>>> {
  const loader = loaders[`../rooms/${name}/index.ts`];
  if (!loader) throw new Error(`this build of the page has no room “${name}”`);
  return (await loader()).default;
}
