// The time of day, for everything that counts: one timer for the whole page.

class Clock {
  /** Milliseconds, moving once a second while the page is seen. */
  now = $state(Date.now());

  constructor() {
    setInterval(() => {
      if (!document.hidden) this.now = Date.now();
    }, 1000);
    document.addEventListener('visibilitychange', () => {
      this.now = Date.now();
    });
  }
}

export const clock = new Clock();
