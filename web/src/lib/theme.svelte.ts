// Light, dark, or as the system says. The only thing remembered in the browser besides layouts.

export type ThemeChoice = 'system' | 'light' | 'dark';

const KEY = 'reeve.theme';
const dark = window.matchMedia('(prefers-color-scheme: dark)');

class Theme {
  choice = $state<ThemeChoice>(remembered());
  #system = $state<'light' | 'dark'>(dark.matches ? 'dark' : 'light');

  constructor() {
    dark.addEventListener('change', () => {
      this.#system = dark.matches ? 'dark' : 'light';
      this.#apply();
    });
    this.#apply();
  }

  /** What is shown. */
  get shown(): 'light' | 'dark' {
    return this.choice === 'system' ? this.#system : this.choice;
  }

  set(choice: ThemeChoice): void {
    this.choice = choice;
    try {
      localStorage.setItem(KEY, choice);
    } catch {
      // A browser that keeps nothing: the choice holds until the page is closed.
    }
    this.#apply();
  }

  #apply(): void {
    document.documentElement.dataset['theme'] = this.shown;
  }
}

function remembered(): ThemeChoice {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === 'light' || kept === 'dark' ? kept : 'system';
  } catch {
    return 'system';
  }
}

export const theme = new Theme();
