// Where the page is: the part of the address after `#`. No server needs to know these paths.

export interface Route {
  /** `/workspaces/wsp_1`. */
  path: string;
  /** Its names. */
  parts: string[];
  query: URLSearchParams;
}

function read(): Route {
  const [path = '', search = ''] = location.hash.replace(/^#/, '').split('?');
  const parts = path.split('/').filter(Boolean).map(decode);
  return { path: `/${parts.join('/')}`, parts, query: new URLSearchParams(search) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

class Router {
  route = $state<Route>(read());
  /** Asked before leaving; false stays. */
  #guard: (() => boolean) | null = null;

  constructor() {
    let shown = location.hash;
    window.addEventListener('hashchange', () => {
      if (location.hash === shown) return;
      if (this.#guard && !this.#guard()) {
        history.replaceState(null, '', shown || '#/');
        return;
      }
      shown = location.hash;
      this.route = read();
    });
  }

  go(path: string): void {
    location.hash = path;
  }

  /** Goes there without a step to go back to. */
  replace(path: string): void {
    history.replaceState(null, '', `#${path}`);
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  }

  /** Changes the query only. */
  query(changes: Record<string, string | undefined>): void {
    const next = new URLSearchParams(this.route.query);
    for (const [key, value] of Object.entries(changes)) {
      if (value) next.set(key, value);
      else next.delete(key);
    }
    const text = next.toString();
    this.replace(this.route.path + (text ? `?${text}` : ''));
  }

  /** Asks `may` before another page is shown. Returns how to stop asking. */
  guard(may: () => boolean): () => void {
    this.#guard = may;
    return () => {
      if (this.#guard === may) this.#guard = null;
    };
  }
}

export const router = new Router();
