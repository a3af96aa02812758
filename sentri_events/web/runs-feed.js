// The feed of all runs that tabs of this browser look at: one stream for up to 50, because browsers open six to a host.
//
// Entries are {seq, at, event}; seq 0 is volatile; {reset: reason} says that the run's numbers begin anew.

import { Feed } from "./feed.js";
import { runPath } from "./api.js";

export const MOST = 50;
const WAIT = 20; // seconds that the server holds an empty answer back
const PAUSE = 2_000; // milliseconds between two rounds, where there are several to ask

export class RunsFeed extends Feed {
  #runs = new Map(); // key -> {id, epoch, seq, ended, afterReset}

  get room() {
    return this.#runs.size < MOST;
  }

  get ended() {
    return [...this.#runs.values()].every((run) => run.ended);
  }

  /** `position` is the first listener's, "<epoch>.<seq>"; whoever comes later fetches what it lacks. */
  join(key, port, { id, position }) {
    const known = this.#runs.has(key);
    if (!known) this.#runs.set(key, { id, ...read(position), ended: false, afterReset: false });
    super.join(key, port);
    if (!known) this.reopen();
  }

  leave(key, port) {
    super.leave(key, port);
    if (!this.channels.has(key) && this.#runs.delete(key) && this.#runs.size > 0 && !this.ended) this.reopen();
  }

  address() {
    const runs = [...this.#runs.values()];
    const positions = runs.map((run) => `${run.epoch}.${run.seq}`).join("~");
    return ["events", { run: runs.map((run) => run.id), meta: 1, lastEventId: positions }];
  }

  take({ type, _run: id, _seq: seq, _at: at, ...rest }, ids) {
    const place = [...this.#runs.values()].findIndex((run) => run.id === id);
    if (place < 0) return; // of a run that was left a moment ago
    const [key, run] = [...this.#runs][place];
    if (type === "reset") {
      run.afterReset = true;
      this.#restart(key, run, rest.reason);
    } else if (type === "snapshot" && run.afterReset) {
      Object.assign(run, { afterReset: false }, read(ids.split("~")[place])); // who listens fetches what it needs
    } else if (seq === undefined) {
      this.send(key, [{ seq: 0, at: new Date().toISOString(), event: { type, ...rest } }]);
    } else {
      Object.assign(run, read(ids.split("~")[place]));
      if (type === "done") run.ended = true;
      this.send(key, [{ seq, at, event: { type, ...rest } }]);
    }
  }

  async missed() {
    let missed = false;
    await this.#each(async (key, run) => {
      const { seq } = run;
      const page = await this.#page(run, { limit: 1 });
      run.ended = page.ended && page.head <= seq;
      missed ||= page.reset !== undefined || page.head > Math.max(seq, run.seq);
    });
    return missed;
  }

  async poll() {
    const alone = this.#runs.size === 1;
    await this.#each(async (key, run) => {
      const page = await this.#page(run, { wait: alone ? WAIT : null });
      if (page.reset) this.#restart(key, run, page.reset, page.epoch);
      this.send(key, page.events);
      if (page.events.length) run.seq = page.events.at(-1).seq;
      run.ended = page.ended && run.seq >= page.head;
    });
    if (!alone && !this.ended) await new Promise((resolve) => setTimeout(resolve, PAUSE));
    return this.ended;
  }

  /** Do it for each run; one that is gone is said to be, and followed no more. */
  async #each(work) {
    for (const [key, run] of this.#runs) {
      try {
        await work(key, run);
      } catch (error) {
        if (error.status !== 404) throw error;
        this.tell(key, { name: "gone", sentence: error.message });
        this.#runs.delete(key);
      }
    }
  }

  #page(run, parameters) {
    return this.ask(`${runPath(run.id)}/events`, { parameters: { after: `${run.epoch}.${run.seq}`, ...parameters } });
  }

  #restart(key, run, reason, epoch = run.epoch) {
    Object.assign(run, { epoch, seq: 0, ended: false });
    this.send(key, [{ reset: reason }]);
  }
}

function read(position) {
  const dot = position.lastIndexOf(".");
  return { epoch: position.slice(0, dot), seq: Number(position.slice(dot + 1)) };
}
