// The workspaces of the person, live: one list, kept up to date by the stream, and what the running ones use.

import { SvelteMap } from 'svelte/reactivity';
import { follow, get, part } from '$lib/api';
import { offered } from '$lib/offered';
import type { Offered, Workspace, WorkspaceEvent, WorkspaceUsage } from '$lib/types';

/** What a workspace uses, with the processor's share computed from two looks. */
export interface Use extends WorkspaceUsage {
  /** Thousandths of a core, over the time between two looks. */
  cpu_millis?: number;
  at: number;
}

/** Calls for use per minute, of the hundred that a person has for everything. */
const LOOKS_PER_MINUTE = 30;

class Workspaces {
  readonly byId = new SvelteMap<string, Workspace>();
  readonly use = new SvelteMap<string, Use>();
  loaded = $state(false);
  error = $state.raw<unknown>(null);
  /** What can be made here, once it is known. */
  offered = $state.raw<Offered | null>(null);
  #stop: (() => void) | null = null;
  #users = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #looking = 0;

  readonly templates = $derived(this.offered?.templates ?? []);
  readonly present = $derived(this.#sorted((workspace) => workspace.state !== 'deleted'));
  readonly deleted = $derived(this.#sorted((workspace) => workspace.state === 'deleted'));

  #sorted(wanted: (workspace: Workspace) => boolean): Workspace[] {
    const rank = (workspace: Workspace) => (['running', 'starting', 'suspending'].includes(workspace.state) ? 0 : 1);
    return [...this.byId.values()]
      .filter(wanted)
      .sort((a, b) => rank(a) - rank(b) || b.last_active_at.localeCompare(a.last_active_at) || a.name.localeCompare(b.name));
  }

  /** Follows while somebody looks. Returns how to stop. */
  watch(): () => void {
    this.#users += 1;
    if (this.#users === 1) {
      this.#stop = follow<WorkspaceEvent>('/workspaces/events', {
        onOpen: () => this.reload(),
        onData: (event) => this.#take(event),
        onBroken: (error) => {
          if (!this.loaded) this.error = error;
        },
      });
      this.#looking = 0;
      this.#look();
    }
    return () => {
      this.#users -= 1;
      if (this.#users > 0) return;
      this.#stop?.();
      this.#stop = null;
      clearTimeout(this.#timer);
    };
  }

  async reload(): Promise<void> {
    try {
      const [present, deleted] = await Promise.all([this.#all({}), this.#all({ state: 'deleted' })]);
      const found = new Map([...present, ...deleted].map((workspace) => [workspace.id, workspace]));
      for (const id of this.byId.keys()) if (!found.has(id)) this.byId.delete(id);
      for (const workspace of found.values()) this.byId.set(workspace.id, workspace);
      this.loaded = true;
      this.error = null;
    } catch (error) {
      this.error = error;
    }
  }

  async loadOffered(): Promise<Offered> {
    this.offered = await offered();
    return this.offered;
  }

  put(workspace: Workspace): void {
    this.byId.set(workspace.id, workspace);
    if (workspace.state !== 'running') this.use.delete(workspace.id);
  }

  remove(id: string): void {
    this.byId.delete(id);
    this.use.delete(id);
  }

  async #all(query: { state?: string }): Promise<Workspace[]> {
    const found: Workspace[] = [];
    let cursor: string | undefined;
    do {
      const page = await get<{ workspaces: Workspace[]; next_cursor?: string }>('/workspaces', {
        query: { ...query, limit: 200, cursor },
      });
      found.push(...page.workspaces);
      cursor = page.next_cursor ?? undefined;
    } while (cursor && found.length < 2000);
    return found;
  }

  #take(event: WorkspaceEvent): void {
    if (event.event === 'gone') this.remove(event.id);
    else if (event.event === 'workspace') this.put(event.workspace);
  }

  /** Asks one running workspace after another what it uses, in turns. */
  #look(): void {
    const running = this.present.filter((workspace) => workspace.state === 'running');
    const next = running[this.#looking % Math.max(running.length, 1)];
    this.#looking += 1;
    if (next && !document.hidden) void this.#lookAt(next);
    const fresh = !this.loaded || running.some((workspace) => !this.use.has(workspace.id));
    const usual = Math.max(60_000 / LOOKS_PER_MINUTE, 5000 / Math.max(running.length, 1));
    this.#timer = setTimeout(() => this.#look(), fresh && this.#looking < 20 ? 150 : usual);
  }

  async #lookAt(workspace: Workspace): Promise<void> {
    try {
      const usage = await get<WorkspaceUsage>(`/workspaces/${part(workspace.id)}/usage`);
      const before = this.use.get(workspace.id);
      const now = Date.now();
      let share = before?.cpu_millis;
      if (before?.cpu_ms !== undefined && usage.cpu_ms !== undefined && usage.cpu_ms >= before.cpu_ms && now > before.at) {
        share = ((usage.cpu_ms - before.cpu_ms) / (now - before.at)) * 1000;
      }
      this.use.set(workspace.id, { ...usage, cpu_millis: share, at: now });
    } catch {
      // What it uses is an extra: the list says what is wrong with the workspace itself.
    }
  }
}

export const workspaces = new Workspaces();
