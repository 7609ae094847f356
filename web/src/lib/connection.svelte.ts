// Whether the server can be reached: learnt from the calls that are made anyway, looked after while it cannot.

class Connection {
  offline = $state(false);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    window.addEventListener('online', () => this.offline && void this.#look(500));
    window.addEventListener('offline', () => this.lost());
  }

  reached(): void {
    if (!this.offline) return;
    this.offline = false;
    clearTimeout(this.#timer);
  }

  lost(): void {
    if (this.offline) return;
    this.offline = true;
    void this.#look(1000);
  }

  /** Asks until there is an answer, with growing pauses. */
  #look(wait: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const answered = await fetch('/health', { cache: 'no-store' }).then(
        (response) => response.status < 500,
        () => false,
      );
      if (answered) this.reached();
      else if (this.offline) this.#look(Math.min(wait * 1.6, 10_000));
    }, wait);
  }

  retry(): void {
    this.#look(0);
  }
}

export const connection = new Connection();
