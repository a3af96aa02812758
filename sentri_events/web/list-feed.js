// The feed of the list of all runs: entries are its events as they come, and {type: "runs", data} where it begins anew.

import { Feed } from "./feed.js";

const PAUSE = 3_000; // milliseconds between two looks while polling
const LONGEST = 30_000; // of silence, after which the list is read again

export class ListFeed extends Feed {
  ended = false;
  #heard = Date.now();
  #known = new Map(); // id -> status, as it was last heard

  join(key, port) {
    const first = this.channels.size === 0;
    super.join(key, port);
    if (first) this.reopen();
  }

  address() {
    return ["workspace/events", {}];
  }

  take(message) {
    this.#heard = Date.now();
    for (const run of message.data ?? [message.run]) this.#known.set(run?.id, run?.status);
    for (const key of this.channels.keys()) this.send(key, [message]);
  }

  async missed() {
    if (Date.now() - this.#heard < LONGEST) return false;
    const known = new Map(this.#known);
    return (await this.#read()).some((run) => known.get(run.id) !== run.status);
  }

  async poll() {
    await this.#read();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    return false;
  }

  async #read() {
    const { data } = await this.ask("runs");
    this.take({ type: "runs", data });
    return data;
  }
}
