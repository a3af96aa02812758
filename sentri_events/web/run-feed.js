// The feed of one run: entries {seq, at, event}; seq 0 is volatile; {reset: reason} says that the numbers begin anew.

import { Feed } from "./feed.js";

const WAIT = 20; // seconds that the server holds an empty answer back

export class RunFeed extends Feed {
  ended = false;
  #path;
  #epoch;
  #seq;
  #afterReset = false; // a snapshot follows

  /** `position` is the first listener's: "<epoch>.<seq>". */
  constructor(board, key, path, position) {
    super(board, key);
    this.#path = path;
    const dot = position.lastIndexOf(".");
    this.#epoch = position.slice(0, dot);
    this.#seq = Number(position.slice(dot + 1));
  }

  address() {
    return [this.#path, { meta: 1, lastEventId: this.#position }];
  }

  take(message, id) {
    const { type, _seq: seq, _at: at, ...rest } = message;
    if (type === "reset") {
      this.#afterReset = true;
      return [this.#restart(message.reason, null)];
    }
    if (type === "snapshot" && this.#afterReset) {
      this.#afterReset = false;
      this.#moveTo(id); // the listeners fetch what they need themselves
      return [];
    }
    if (seq === undefined) return [{ seq: 0, at: new Date().toISOString(), event: message }];
    this.#moveTo(id);
    if (type === "done") this.ended = true;
    return [{ seq, at, event: { type, ...rest } }];
  }

  async missed() {
    const seq = this.#seq;
    const page = await this.#page({ limit: 1 });
    this.ended = page.ended && page.head <= seq;
    return page.reset !== undefined || page.head > Math.max(seq, this.#seq);
  }

  async poll() {
    const page = await this.#page({ wait: WAIT });
    if (page.reset) this.send([this.#restart(page.reset, page.epoch)]);
    this.send(page.events);
    if (page.events.length) this.#seq = page.events.at(-1).seq;
    return page.ended && this.#seq >= page.head;
  }

  get #position() {
    return `${this.#epoch}.${this.#seq}`;
  }

  #page(parameters) {
    return this.ask(this.#path, { parameters: { after: this.#position, ...parameters } });
  }

  #moveTo(id) {
    const dot = id.lastIndexOf(".");
    this.#epoch = id.slice(0, dot);
    this.#seq = Number(id.slice(dot + 1));
  }

  #restart(reason, epoch) {
    this.ended = false;
    if (epoch) this.#epoch = epoch;
    this.#seq = 0;
    return { reset: reason };
  }
}
