// The feed of a list of runs: entries are its events as they come, and {type: "runs", data} where it begins anew.

import { Feed } from "./feed.js";

const PAUSE = 3_000; // milliseconds between two looks while polling
const LONGEST = 30_000; // of silence, after which the list is read again

export class ListFeed extends Feed {
  ended = false;
  #path; // of the stream; the list itself is `runs`, or a project's
  #list;
  #heard = Date.now();

  constructor(board, key, path) {
    super(board, key);
    this.#path = path;
    this.#list = path === "workspace/events" ? "runs" : path.replace(/events$/, "runs");
  }

  address() {
    return [this.#path, {}];
  }

  take(message) {
    this.#heard = Date.now();
    return [message];
  }

  async missed() {
    if (Date.now() - this.#heard > LONGEST) await this.#read();
    return false;
  }

  async poll() {
    await this.#read();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    return false;
  }

  async #read() {
    const page = await this.ask(this.#list);
    this.send([{ type: "runs", data: page.data }]);
    this.#heard = Date.now();
  }
}
