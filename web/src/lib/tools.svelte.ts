// What tools are for, in their authors' words; asked once.

import { get } from './api';
import type { ToolInfo } from './types';

class Tools {
  #byName = $state.raw<ReadonlyMap<string, ToolInfo>>(new Map());
  #asked = false;

  /** Starts reading them, if nobody did. */
  load(): void {
    if (this.#asked) return;
    this.#asked = true;
    get<{ tools: ToolInfo[] }>('/tools').then(
      (answer) => (this.#byName = new Map(answer.tools.map((tool) => [tool.name, tool]))),
      // They only explain: the next room that needs them asks again.
      () => (this.#asked = false),
    );
  }

  get names(): string[] {
    return [...this.#byName.keys()].sort();
  }

  find(name: string): ToolInfo | undefined {
    return this.#byName.get(name);
  }
}

export const tools = new Tools();
