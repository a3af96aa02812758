// One stream from the server, carried to every tab that listens: EventSource, and asking again and again where none gets through.
//
// The browser's own reconnection does most of it. Where it gives up (any answer but 200), `look` finds out why and what to
// do; where a stream is silent, `check` finds out whether it is deaf. What a feed loses, its listeners fetch: they count.
//
// state: {name, until?, sentence?}; name is one of connecting, live, reconnecting, polling, signed out, gone, ended.

import { Backoff } from "./backoff.js";
import { Refused, ask, url } from "./api.js";

const OPENING = 6_000; // milliseconds in which a stream begins, or something stands between
const SILENCE = 10_000; // after which it is checked whether there was nothing to say
const BATCH = 20; // in which events gather for one message to the tabs
const STUCK = 30_000; // in which the browser connects again, or is told to
const NATIVE_RETRY = 2_000; // what the server asks browsers to wait
const AGAIN = 60_000; // after which a stream is tried again while polling

export class Feed {
  ports = new Set();
  state = { name: "connecting" };
  #board;
  #source = null;
  #opens = false; // whether this source has opened
  #timer = 0; // of the opening, the next attempt or the next check: one at a time
  #backoff = new Backoff();
  #batch = [];
  #flushing = false;
  #heard = 0; // when the stream last brought something
  #deaf = 0; // checks in a row that found something which the stream had not brought
  #streamAfter = 0; // when a stream is tried again
  #life = new AbortController();

  constructor(board, key) {
    this.#board = board;
    this.key = key;
  }

  // What the two kinds differ in. `address()` -> [path, parameters] of the stream; `take(message)` -> entries for the
  // tabs; `missed()` -> true if the server has what the stream did not bring; `poll()` -> one round of asking, which
  // returns true when there will be nothing more.

  start() {
    this.#open();
  }

  join(port) {
    this.ports.add(port);
    port.postMessage({ key: this.key, state: this.state });
  }

  stop() {
    this.#close();
    this.#life.abort();
  }

  /** Try again now: there is a new token, or somebody asks for it. */
  retry() {
    this.#backoff.reset();
    this.#close();
    this.#open();
  }

  /** Ask the server, with the token that the tabs have. */
  ask(path, options = {}) {
    return ask(path, { token: this.#board.token, signal: this.#life.signal, ...options });
  }

  /** Carry entries to the tabs, a few milliseconds' worth at a time. */
  send(entries) {
    this.#batch.push(...entries);
    if (this.#flushing || this.#batch.length === 0) return;
    this.#flushing = true;
    setTimeout(() => {
      this.#flushing = false;
      const batch = this.#batch;
      this.#batch = [];
      for (const port of this.ports) port.postMessage({ key: this.key, entries: batch });
    }, BATCH);
  }

  #say(name, more = {}) {
    this.state = { name, ...more };
    for (const port of this.ports) port.postMessage({ key: this.key, state: this.state });
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #later(milliseconds, work) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => work.call(this), milliseconds);
  }

  async #open() {
    if (this.state.name !== "reconnecting") this.#say("connecting");
    const [path, parameters] = this.address();
    let ticket = null;
    if (this.#board.token) {
      const { pathname, search } = new URL(url(path, parameters));
      try {
        ticket = (await this.ask("tickets", { body: { path: pathname + search } })).ticket;
      } catch (error) {
        if (error.status === 409) this.#usePolling(); // a server that makes no tickets
        else this.#refused(error);
        return;
      }
    }
    if (this.#life.signal.aborted) return;
    this.#source?.close();
    const source = (this.#source = new EventSource(url(path, { ...parameters, ticket }), { withCredentials: true }));
    this.#opens = false;
    source.onopen = () => this.#opened();
    source.onmessage = (event) => this.#message(event);
    source.onerror = () => this.#broken(source);
    this.#later(OPENING, this.#usePolling);
  }

  #opened() {
    this.#opens = true;
    this.#heard = Date.now();
    this.#say("live");
    this.#later(SILENCE, this.#check);
  }

  #message(event) {
    this.#heard = Date.now();
    this.#deaf = 0;
    this.#backoff.reset();
    this.send(this.take(JSON.parse(event.data), event.lastEventId));
  }

  #broken(source) {
    clearTimeout(this.#timer);
    if (source.readyState === EventSource.CONNECTING) {
      this.#say("reconnecting", { until: Date.now() + NATIVE_RETRY });
      this.#later(STUCK, this.retry);
    } else if (this.ended) {
      this.#say("ended");
    } else {
      this.#look();
    }
  }

  /** The browser has given up, and does not say why. */
  async #look() {
    try {
      await this.missed();
      if (this.ended) this.#say("ended");
      else if (this.#opens) this.#again();
      else this.#usePolling(); // asking works, streaming does not
    } catch (error) {
      this.#refused(error);
    }
  }

  #again(least = null) {
    const pause = this.#backoff.next(least);
    this.#say("reconnecting", { until: Date.now() + pause });
    this.#later(pause, this.#open);
  }

  #refused(error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401 || error.status === 403) this.#say("signed out", { sentence: error.message });
    else if (error.status === 404) this.#say("gone", { sentence: error.message });
    else this.#again(error.wait);
  }

  /** Nothing has come for a while: was there nothing? A proxy may hold the stream back, or the network be gone. */
  async #check() {
    const silent = Date.now() - this.#heard;
    if (silent < SILENCE) {
      this.#later(SILENCE - silent, this.#check);
      return;
    }
    try {
      if (await this.missed()) {
        this.#deaf += 1;
        this.#close();
        if (this.#deaf > 1) this.#usePolling();
        else this.#open();
        return;
      }
      this.#later(SILENCE, this.#check);
    } catch (error) {
      this.#close();
      this.#refused(error);
    }
  }

  #usePolling() {
    this.#close();
    this.#streamAfter = Date.now() + AGAIN;
    this.#say("polling");
    this.#poll();
  }

  async #poll() {
    try {
      if (await this.poll()) {
        this.#say("ended");
      } else if (Date.now() > this.#streamAfter) {
        this.#open();
      } else {
        this.#later(0, this.#poll);
      }
    } catch (error) {
      this.#refused(error);
    }
  }
}
