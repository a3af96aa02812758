// How long to wait before the next attempt: twice as long each time, from a second to half a minute, with jitter.

export class Backoff {
  #attempts = 0;

  /** Milliseconds. `least` is what the server asked for, in seconds. */
  next(least = null) {
    const seconds = Math.min(30, 2 ** this.#attempts) * (0.75 + Math.random() / 2);
    this.#attempts += 1;
    return 1000 * Math.max(seconds, least ?? 0);
  }

  reset() {
    this.#attempts = 0;
  }
}
