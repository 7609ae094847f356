// Workspaces in words.

import type { Egress, Isolation, Workspace, WorkspaceState } from '$lib/types';
import { duration, list, plural } from '$lib/words';

export type Tone = 'neutral' | 'accent' | 'green' | 'amber' | 'red';

export const states: Record<WorkspaceState, { word: string; tone: Tone; moving?: boolean }> = {
  running: { word: 'Running', tone: 'green' },
  starting: { word: 'Starting', tone: 'accent', moving: true },
  suspending: { word: 'Suspending', tone: 'accent', moving: true },
  suspended: { word: 'Suspended', tone: 'neutral' },
  stopped: { word: 'Stopped', tone: 'neutral' },
  error: { word: 'Failed', tone: 'red' },
  deleting: { word: 'Deleting', tone: 'amber', moving: true },
  deleted: { word: 'Deleted', tone: 'neutral' },
};

export const drivers = {
  namespace: { word: 'Namespace', text: 'bubblewrap on this machine; starts at once, needs nothing else' },
  docker: { word: 'Docker', text: 'a container of Docker or Podman' },
} as const;

export function canStart(workspace: Workspace): boolean {
  return ['stopped', 'suspended', 'error'].includes(workspace.state);
}

export function canSuspend(workspace: Workspace): boolean {
  return workspace.state === 'running';
}

export function canDelete(workspace: Workspace): boolean {
  return ['stopped', 'running', 'suspended', 'error'].includes(workspace.state);
}

/** What a person opens: a resting one starts when it is opened. */
export function canOpen(workspace: Workspace): boolean {
  return !['deleting', 'deleted'].includes(workspace.state);
}

const uses: Record<string, string> = {
  terminal: 'a terminal is in use',
  file: 'files were read or saved',
  execution: 'a program runs',
  preview: 'its preview was opened',
};

/** `a terminal is in use`. */
export function aliveBecause(workspace: Workspace): string {
  return uses[workspace.alive_because ?? ''] ?? (workspace.alive_because ? workspace.alive_because : 'it was started');
}

const touched: Record<string, string> = { terminal: 'terminal', file: 'files', execution: 'run', preview: 'preview' };

/** What was used last, in one word. */
export function lastUse(workspace: Workspace): string {
  return touched[workspace.alive_because ?? ''] ?? '';
}

/** When it rests by itself. */
export function restsWhen(workspace: Workspace, now: number): string {
  if (workspace.limits.idle_timeout_ms === 0) return 'It is never suspended by itself.';
  if (workspace.state !== 'running' || !workspace.suspends_at)
    return `It is suspended after ${duration(workspace.limits.idle_timeout_ms)} without use.`;
  const left = new Date(workspace.suspends_at).getTime() - now;
  return left <= 0 ? 'It is about to be suspended.' : `It is suspended in ${duration(left)} if nobody uses it.`;
}

export function egressWords(egress: Egress): string {
  if (egress.mode === 'none') return 'Nothing: it has no network.';
  if (egress.mode === 'public') return 'Everything public, through Reeve’s proxy; never this machine or private networks.';
  return egress.hosts.length ? `Only ${list(egress.hosts)}, through Reeve’s proxy.` : 'Nothing: its list of hosts is empty.';
}

export interface Fact {
  good: boolean;
  text: string;
}

/** What held a workspace when it was last started, one fact a line. Missing protections are said, not left out. */
export function isolationFacts(isolation: Isolation): Fact[] {
  const tiers: Record<string, string> = {
    namespace: 'Its own namespaces of the kernel: it sees its own processes, files and network only.',
    container: 'A container of its own, without capabilities and without the engine’s socket.',
    gvisor: 'A kernel of its own (gVisor): its system calls do not reach the host’s kernel.',
  };
  const limits: Record<string, string> = {
    cgroup2: 'Memory, processor and processes are limited by the kernel (cgroup v2).',
    cgroup1: 'Memory, processor and processes are limited by the kernel (cgroup v1).',
    rlimit: 'Memory and processes are limited for each process only (rlimit); processor time is not.',
  };
  const disks: Record<string, string> = {
    kernel: 'The disk quota holds while it writes.',
    swept: 'The disk quota is checked now and then, not while it writes.',
  };
  const networks: Record<string, string> = {
    none: 'It has no network.',
    allow: 'It reaches the hosts it was allowed, through Reeve’s proxy.',
    public: 'It reaches public addresses through Reeve’s proxy.',
  };
  return [
    { good: true, text: tiers[isolation.tier] ?? `Tier: ${isolation.tier}.` },
    { good: isolation.own_user, text: isolation.own_user ? 'Its user is nobody on this machine.' : 'Its user exists on this machine, too.' },
    { good: isolation.seccomp, text: isolation.seccomp ? 'Dangerous system calls are refused (seccomp).' : 'System calls are not filtered.' },
    {
      good: isolation.landlock,
      text: isolation.landlock ? 'Landlock holds it to its own files.' : 'Landlock does not hold: this kernel or driver has none.',
    },
    { good: isolation.limits.startsWith('cgroup'), text: limits[isolation.limits] ?? `Limits: ${isolation.limits}.` },
    { good: isolation.disk === 'kernel', text: disks[isolation.disk] ?? `Disk: ${isolation.disk}.` },
    { good: true, text: networks[isolation.network] ?? `Network: ${isolation.network}.` },
  ];
}

/** `2 terminals, 1 program`. */
export function inside(terminals: number, executions: number): string {
  const parts = [terminals ? plural(terminals, 'terminal') : '', executions ? plural(executions, 'program') : ''];
  return parts.filter(Boolean).join(', ') || 'No terminal and no program';
}
