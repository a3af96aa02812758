// Follows one run: its document, then every event from the first, then what comes live. This tab is a cursor.
//
// Only `cursor + 1` is ever applied: what is not newer is dropped, and a hole is filled from the stored history. So the
// beginning, a second tab on a shared stream, a reconnection and a stream that lost something are one rule.

import { ask, runPath } from "./api.js";
import { Backoff } from "./backoff.js";
import { listen } from "./line.js";
import { apply, newRun } from "./run-state.js";
import { onToken, token } from "./session.js";

const NOTHING_MORE = "The server has said that nothing more will come.";
const HEARING = new Set(["live", "polling", "catching up", "connecting"]);

export class RunFollower {
  run = null; // its state, from run-state.js; null until its document is here
  connection = { name: "connecting" }; // as in feed.js, and "catching up", "finished", "interrupted"
  head = 0; // the last event that is known to exist
  document = null; // as it was read at the beginning
  trimmed = false; // the oldest events are there no more
  lost = 0; // since when (ms) nothing is heard of a run that has not ended; 0 while something is
  #id;
  #onChange;
  #epoch = "";
  #waiting = []; // entries of the feed, for when the history before them is here
  #filling = false;
  #leave = null;
  #feed = { name: "connecting" };
  #backoff = new Backoff();
  #life = new AbortController();
  #endTokens;

  /** `onChange()` is called after each change, as often as entries come. */
  constructor(id, onChange) {
    this.#id = id;
    this.#onChange = onChange;
    this.#endTokens = onToken(() => this.retry());
    this.#fill();
  }

  /** Stop following. */
  close() {
    this.#life.abort();
    this.#leave?.();
    this.#endTokens();
  }

  /** Try again now. */
  retry() {
    if (!this.run || this.connection.name === "signed out") this.#fill();
  }

  #say(connection) {
    this.connection = connection;
    const heard = this.run?.ended || HEARING.has(connection.name);
    this.lost = heard ? 0 : this.lost || Date.now();
    this.#onChange();
  }

  #entries(entries) {
    this.#waiting.push(...entries);
    if (!this.#filling) this.#drain();
  }

  /** Apply what waits, as far as it follows; then fill the hole before the rest. */
  #drain() {
    const entries = [];
    let next = this.run.seq + 1;
    let hole = false;
    for (const entry of this.#waiting) {
      if (entry.reset) {
        this.#restart();
        return;
      }
      if (entry.seq === 0) entries.push(entry);
      else if (entry.seq === next) {
        entries.push(entry);
        next += 1;
      } else if (entry.seq > next) {
        hole = true;
        break;
      }
    }
    if (entries.length) apply(this.run, entries);
    if (hole) {
      this.#waiting = this.#waiting.filter((entry) => entry.seq >= next);
      this.#fill();
      return;
    }
    this.#waiting = [];
    this.head = Math.max(this.head, this.run.seq);
    this.#settle();
  }

  /** The run was made anew, or its oldest events were pruned: all that was shown is of another time. */
  #restart() {
    this.run = null;
    this.trimmed = false;
    this.#epoch = "";
    this.#waiting = [];
    this.#leave?.();
    this.#leave = null;
    this.#fill();
  }

  async #fill() {
    if (this.#filling) return;
    this.#filling = true;
    try {
      await this.#read();
      this.#backoff.reset();
      this.#filling = false;
      this.#join();
      if (this.run) this.#drain();
    } catch (error) {
      this.#filling = false;
      this.#refused(error);
    }
  }

  /** The stored events after the cursor, page by page, up to the head. */
  async #read() {
    if (!this.run) {
      this.document = await this.#ask(runPath(this.#id), { logs: 0 });
      this.run = newRun(this.document);
      this.#say({ name: "catching up" });
    }
    let asked = this.#page(this.#epoch ? `${this.#epoch}.${this.run.seq}` : "0");
    for (;;) {
      const page = await asked;
      if (page.reset && page.reset !== "trimmed") {
        this.run = newRun((this.document = await this.#ask(runPath(this.#id), { logs: 0 })));
        asked = this.#page("0");
        continue;
      }
      const last = page.events.length ? page.events.at(-1).seq : page.head; // what is missing was pruned
      if (last < page.head) asked = this.#page(`${page.epoch}.${last}`); // on its way while this one is applied
      this.trimmed ||= page.reset === "trimmed";
      this.#epoch = page.epoch;
      this.head = page.head;
      apply(this.run, page.events);
      this.run.seq = last;
      if (last >= page.head) return;
      this.#say({ name: "catching up" });
    }
  }

  /** The stored events after a position. */
  #page(after) {
    return this.#ask(`${runPath(this.#id)}/events`, { after });
  }

  #ask(path, parameters) {
    return ask(path, { parameters, token: token(), signal: this.#life.signal });
  }

  #join() {
    if (this.run.ended || this.#leave) {
      this.#settle();
      return;
    }
    this.#leave = listen(
      { key: `run ${this.#id}`, kind: "run", id: this.#id, position: `${this.#epoch}.${this.run.seq}` },
      (entries) => this.#entries(entries),
      (state) => {
        this.#feed = state;
        if (state.name === "ended" && !this.run.ended) this.#fill();
        else if (!this.#filling) this.#settle();
      },
    );
  }

  /** Say how things stand when nothing is on its way. */
  #settle() {
    if (!this.run.ended) {
      this.#say(this.#feed);
      return;
    }
    const name = this.run.fields.status === "interrupted" ? "interrupted" : "finished";
    this.#say({ name, sentence: this.#feed.name === "ended" ? NOTHING_MORE : undefined });
  }

  #refused(error) {
    if (error.name === "AbortError") return;
    if (error.status === 401 || error.status === 403) this.#say({ name: "signed out", sentence: error.message });
    else if (error.status === 404) this.#say({ name: "gone", sentence: error.message });
    else if (error.status === undefined) throw error;
    else {
      const pause = this.#backoff.next(error.wait);
      this.#say({ name: "reconnecting", until: Date.now() + pause, sentence: error.message });
      setTimeout(() => this.#life.signal.aborted || this.#fill(), pause);
    }
  }
}
