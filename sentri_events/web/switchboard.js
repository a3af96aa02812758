// Who listens to which feed. A tab says `follow`, `leave`, `token`, `here` and `bye`; feeds answer through its port.
//
// There is a feed for the list, and one for each 50 runs. It lives as long as a tab listens. Tabs that crash say no `bye`: who was silent for LOST is taken for gone.
// (Browsers let timers of hidden tabs run once a minute.)

import { ListFeed } from "./list-feed.js";
import { RunsFeed } from "./runs-feed.js";

const LOST = 200_000; // milliseconds

export class Switchboard {
  #feeds = new Map(); // key -> the feed that carries it
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
    for (const feed of new Set(this.#feeds.values())) if (changed || feed.state.name === "signed out") feed.retry();
  }

  #follow(port, message) {
    const feed = this.#feeds.get(message.key) ?? this.#feedFor(message);
    this.#feeds.set(message.key, feed);
    feed.join(message.key, port, message);
  }

  #feedFor({ kind }) {
    if (kind === "list") return new ListFeed(this);
    return [...this.#feeds.values()].find((feed) => feed.room) ?? new RunsFeed(this);
  }

  #leave(port, key) {
    const feed = this.#feeds.get(key);
    feed?.leave(key, port);
    if (feed && !feed.channels.has(key)) this.#feeds.delete(key);
  }

  #drop(port) {
    this.#heard.delete(port);
    for (const key of [...this.#feeds.keys()]) this.#leave(port, key);
  }

  #sweep() {
    for (const [port, when] of this.#heard) if (Date.now() - when > LOST) this.#drop(port);
  }
}
