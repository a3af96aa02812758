// Who listens to which feed. A tab says `follow`, `leave`, `token`, `here` and `bye`; feeds answer through its port.
//
// A feed lives as long as a tab listens. Tabs that crash say no `bye`: who was silent for LOST is taken for gone.
// (Browsers let timers of hidden tabs run once a minute.)

import { ListFeed } from "./list-feed.js";
import { RunFeed } from "./run-feed.js";

const LOST = 200_000; // milliseconds

export class Switchboard {
  #feeds = new Map(); // key -> feed
  #heard = new Map(); // port -> when
  token = null;

  constructor() {
    setInterval(() => this.#sweep(), LOST / 4);
  }

  attach(port) {
    this.#heard.set(port, Date.now());
    port.onmessage = ({ data }) => this.#take(port, data);
    port.start?.();
  }

  #take(port, message) {
    this.#heard.set(port, Date.now());
    if (message.verb === "token") this.#signIn(message.token);
    else if (message.verb === "follow") this.#follow(port, message);
    else if (message.verb === "leave") this.#leave(port, message.key);
    else if (message.verb === "bye") this.#drop(port);
  }

  #signIn(token) {
    const changed = token !== this.token;
    this.token = token;
    for (const feed of this.#feeds.values()) if (changed || feed.state.name === "signed out") feed.retry();
  }

  #follow(port, { key, kind, path, position }) {
    let feed = this.#feeds.get(key);
    if (!feed) {
      feed = kind === "run" ? new RunFeed(this, key, path, position) : new ListFeed(this, key, path);
      this.#feeds.set(key, feed);
      feed.start();
    }
    feed.join(port);
  }

  #leave(port, key) {
    const feed = this.#feeds.get(key);
    if (!feed) return;
    feed.ports.delete(port);
    if (feed.ports.size === 0) {
      feed.stop();
      this.#feeds.delete(key);
    }
  }

  #drop(port) {
    this.#heard.delete(port);
    for (const key of [...this.#feeds.keys()]) this.#leave(port, key);
  }

  #sweep() {
    for (const [port, when] of this.#heard) if (Date.now() - when > LOST) this.#drop(port);
  }
}
