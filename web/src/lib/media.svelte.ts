// What kind of window it is, for what style sheets alone cannot decide.

class Media {
  /** A phone, or a window as narrow. */
  narrow = $state(false);
  /** Too narrow for a panel beside a list. */
  tight = $state(false);

  constructor() {
    this.#watch('(max-width: 700px)', (fits) => (this.narrow = fits));
    this.#watch('(max-width: 1100px)', (fits) => (this.tight = fits));
  }

  #watch(query: string, told: (fits: boolean) => void): void {
    const list = window.matchMedia(query);
    told(list.matches);
    list.addEventListener('change', () => told(list.matches));
  }
}

export const media = new Media();
