// A finished run at any moment of its past: the same functions that made it live, on the events up to then. Pure.

import { apply, beginning, countedAs } from "./run-state.js";

export class Player {
  run; // as it was `at` milliseconds after its start; another object after each step back
  at = 0;
  length; // milliseconds from its start to its last event
  #document;
  #events;
  #times; // of each event, in milliseconds from the start: never before that of the one above it
  #applied = 0;

  /** `document`: the run as the server gave it; `events`: all of its stored events. */
  constructor(document, events) {
    this.#document = document;
    this.#events = events;
    const begin = Date.parse(document.startedAt);
    let last = 0;
    this.#times = events.map(({ at }) => (last = Math.max(last, Date.parse(at) - begin)));
    this.length = last;
    this.#restart();
  }

  #restart() {
    this.run = beginning(this.#document, this.#events);
    this.#applied = 0;
  }

  /** Go to a moment. Forward costs what happened since; back, all that happened before. */
  seek(at) {
    this.at = Math.max(0, Math.min(at, this.length));
    const until = this.#before(this.at);
    if (until < this.#applied) this.#restart();
    apply(this.run, this.#events.slice(this.#applied, until));
    this.#applied = until;
    this.run.moment = Date.parse(this.#document.startedAt) + this.at;
    return this.run;
  }

  /** How many events there were up to a moment, with it. */
  #before(at) {
    let low = 0;
    let high = this.#times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#times[middle] <= at) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** What happened when, in `parts` equal parts of its length: {events, failed} each. */
  profile(parts) {
    const found = Array.from({ length: parts }, () => ({ events: 0, failed: 0 }));
    this.#events.forEach(({ event }, index) => {
      const part = found[Math.min(parts - 1, Math.floor((parts * this.#times[index]) / (this.length || 1)))];
      part.events += 1;
      if (event.type === "result" && countedAs(event.result.status) === "failed") part.failed += 1;
    });
    return found;
  }
}
