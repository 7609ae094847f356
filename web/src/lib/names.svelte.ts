// What workspaces are called, where the API gives only their ids. Each is asked for once; one that is gone, or that is not
// for this person to see, keeps its id.

import { get, part } from './api';
import type { Workspace } from './types';

class Names {
  #known = $state.raw(new Map<string, string>());
  #asked = new Set<string>();

  /** The name of a workspace, or its id as long as no name is known. */
  workspace(id: string): string {
    const known = this.#known.get(id);
    if (known === undefined) this.#ask(id);
    return known ?? id;
  }

  /** `ledger` for a workspace, the name as it is for everything else. */
  of(kind: string, name: string): string {
    return kind === 'workspace' && name.startsWith('wsp_') ? this.workspace(name) : name;
  }

  #ask(id: string): void {
    if (this.#asked.has(id)) return;
    this.#asked.add(id);
    void get<Workspace>(`/workspaces/${part(id)}`).then(
      ({ name }) => (this.#known = new Map(this.#known).set(id, name)),
      () => undefined,
    );
  }
}

export const names = new Names();
