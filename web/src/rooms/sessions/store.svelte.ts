// The sessions that fit what somebody looks for, live: pages of a list, kept up to date by the stream of all sessions.

import { SvelteMap } from 'svelte/reactivity';
import { follow } from '$lib/api';
import { list } from '../../conversation/calls';
import type { AgentSession, SessionsFrame } from '../../conversation/types';

export interface Filter {
  /** A state, `archived`, or empty for all that are not put away. */
  state: string;
  agent: string;
  search: string;
}

const PAGE = 50;

class Sessions {
  readonly byId = new SvelteMap<string, AgentSession>();
  loaded = $state(false);
  loading = $state(false);
  error = $state.raw<unknown>(null);
  next = $state<string | undefined>();
  filter = $state.raw<Filter>({ state: '', agent: '', search: '' });
  /** How many sessions wait for somebody, of those that are known. */
  readonly waiting = $derived([...this.byId.values()].filter(({ state, archived }) => state === 'waiting' && !archived).length);
  #stop: (() => void) | null = null;
  #asked = 0;

  readonly shown = $derived(
    [...this.byId.values()].filter((one) => this.fits(one)).sort((a, b) => rank(a) - rank(b) || b.updated_at.localeCompare(a.updated_at)),
  );

  /** Whether a session is one of those that somebody looks for; the server looks into what was said, too. */
  fits(one: AgentSession): boolean {
    const { state, agent } = this.filter;
    if (one.archived !== (state === 'archived')) return false;
    return (state === '' || state === 'archived' || one.state === state) && (agent === '' || one.agent === agent);
  }

  watch(): () => void {
    this.#stop ??= follow<SessionsFrame>('/events/sessions', {
      onOpen: () => this.reload(),
      onData: (frame) => {
        if (frame.event === 'session') this.put(frame.session);
        else if (frame.event === 'resync') void this.reload();
      },
      onBroken: (error) => {
        if (!this.loaded) this.error = error;
      },
    });
    return () => {
      this.#stop?.();
      this.#stop = null;
    };
  }

  look(filter: Filter): void {
    this.filter = filter;
    void this.reload();
  }

  async reload(): Promise<void> {
    const turn = ++this.#asked;
    this.loading = true;
    try {
      const page = await this.#page();
      if (turn !== this.#asked) return;
      this.byId.clear();
      for (const one of page.sessions) this.byId.set(one.id, one);
      this.next = page.next_cursor ?? undefined;
      this.error = null;
      this.loaded = true;
    } catch (error) {
      if (turn === this.#asked) this.error = error;
    } finally {
      if (turn === this.#asked) this.loading = false;
    }
  }

  async more(): Promise<void> {
    this.loading = true;
    try {
      const page = await this.#page(this.next);
      for (const one of page.sessions) this.byId.set(one.id, one);
      this.next = page.next_cursor ?? undefined;
    } catch (error) {
      this.error = error;
    } finally {
      this.loading = false;
    }
  }

  #page(cursor?: string) {
    const { state, agent, search } = this.filter;
    const archived = state === 'archived' ? true : undefined;
    return list({ state: archived ? undefined : state, agent, search, archived, cursor, limit: PAGE });
  }

  /** What a call or the stream brought. One that was searched for is not joined by others. */
  put(one: AgentSession): void {
    const known = this.byId.get(one.id);
    if (!known && this.filter.search) return;
    if (!known || one.last_seq >= known.last_seq) this.byId.set(one.id, one);
  }
}

const rank = (one: AgentSession) => (one.state === 'waiting' ? 0 : one.state === 'running' ? 1 : 2);

export const sessions = new Sessions();
