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
const GATHER = 20; // in which what is to be listened to gathers
const BATCH = 20; // in which events gather for one message to the tabs
const STUCK = 30_000; // in which the browser connects again, or is told to
const NATIVE_RETRY = 2_000; // what the server asks browsers to wait
const AGAIN = 60_000; // after which a stream is tried again while polling

export class Feed {
  channels = new Map(); // key -> the ports of those who listen: a feed may carry several things
  state = { name: "connecting" };
  #board;
  #source = null;
  #opens = false; // whether this source has opened
  #timer = 0; // of the opening, the next attempt or the next check: one at a time
  #backoff = new Backoff();
  #batches = new Map(); // key -> entries
  #heard = 0; // when the stream last brought something
  #deaf = 0; // checks in a row that found something which the stream had not brought
  #streamAfter = 0; // when a stream is tried again
  #turn = 0; // grows whenever something else is begun
  #life = new AbortController();

  constructor(board) {
    this.#board = board;
  }

  // What the kinds differ in. `address()` -> [path, parameters] of the stream; `take(message, id)` sends what the tabs are
  // to know; `missed()` -> true if the server has what the stream did not bring; `poll()` -> one round of asking, which
  // returns true when there will be nothing more; `ended`: there will be nothing more.

  join(key, port) {
    if (!this.channels.has(key)) this.channels.set(key, new Set());
    this.channels.get(key).add(port);
    port.postMessage({ key, state: this.state });
  }

  leave(key, port) {
    const ports = this.channels.get(key);
    ports?.delete(port);
    if (ports?.size === 0) this.channels.delete(key);
    if (this.channels.size === 0) {
      this.#close();
      this.#life.abort();
    }
  }

  /** What is listened to has changed: open another stream, soon, unless nobody streams anyway. */
  reopen() {
    if (this.state.name === "polling") return;
    this.#close();
    this.#later(GATHER, this.#open);
  }

  /** Try again now: there is a new token, or somebody asks for it. */
  retry() {
    this.#backoff.reset();
    this.#open();
  }

  /** Ask the server, with the token that the tabs have. */
  ask(path, options = {}) {
    return ask(path, { token: this.#board.token, signal: this.#life.signal, ...options });
  }

  /** Carry entries to those who listen, a few milliseconds' worth at a time. */
  send(key, entries) {
    const batch = this.#batches.get(key);
    if (batch) {
      batch.push(...entries);
    } else if (entries.length) {
      this.#batches.set(key, [...entries]);
      setTimeout(() => this.#flush(key), BATCH);
    }
  }

  /** Say how things stand, of one thing only. */
  tell(key, state) {
    for (const port of this.channels.get(key) ?? []) port.postMessage({ key, state });
  }

  #flush(key) {
    const entries = this.#batches.get(key);
    this.#batches.delete(key);
    for (const port of this.channels.get(key) ?? []) port.postMessage({ key, entries });
  }

  #say(name, more = {}) {
    this.state = { name, ...more };
    for (const key of this.channels.keys()) this.tell(key, this.state);
  }

  /** End the stream or the asking, and whatever is being found out for it. */
  #close() {
    this.#turn += 1;
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #later(milliseconds, work) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => work.call(this), milliseconds);
  }

  /** Wait for an answer, then do `then` with it, unless things have taken another turn meanwhile. */
  async #when(asked, then, refused = (error) => this.#refused(error)) {
    const turn = this.#turn;
    try {
      const answer = await asked;
      if (turn === this.#turn) then(answer);
    } catch (error) {
      if (turn === this.#turn) refused(error);
    }
  }

  #open() {
    this.#close();
    if (this.ended) {
      this.#say("ended");
      return;
    }
    if (this.state.name !== "reconnecting" && this.state.name !== "live") this.#say("connecting");
    const [path, parameters] = this.address();
    if (!this.#board.token) {
      this.#stream(url(path, parameters));
      return;
    }
    const { pathname, search } = new URL(url(path, parameters));
    this.#when(
      this.ask("tickets", { body: { path: pathname + search } }),
      ({ ticket }) => this.#stream(url(path, { ...parameters, ticket })),
      (error) => (error.status === 409 ? this.#usePolling() : this.#refused(error)), // a server that makes no tickets
    );
  }

  #stream(address) {
    const source = (this.#source = new EventSource(address, { withCredentials: true }));
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
    const message = JSON.parse(event.data);
    if (message.type === "overloaded") this.#usePolling(); // too many streams, but questions are answered
    else this.take(message, event.lastEventId);
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
  #look() {
    this.#when(this.missed(), () => {
      if (this.ended) this.#say("ended");
      else if (this.#opens) this.#again();
      else this.#usePolling(); // asking works, streaming does not
    });
  }

  #again(least = null) {
    const pause = this.#backoff.next(least);
    this.#say("reconnecting", { until: Date.now() + pause });
    this.#later(pause, this.#open);
  }

  #refused(error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    this.#close();
    if (error.status === 401 || error.status === 403) this.#say("signed out", { sentence: error.message });
    else if (error.status === 404) this.#say("gone", { sentence: error.message });
    else this.#again(error.wait);
  }

  /** Nothing has come for a while: was there nothing? A proxy may hold the stream back, or the network be gone. */
  #check() {
    const silent = Date.now() - this.#heard;
    if (silent < SILENCE) {
      this.#later(SILENCE - silent, this.#check);
      return;
    }
    this.#when(this.missed(), (missed) => {
      if (!missed) {
        this.#later(SILENCE, this.#check);
        return;
      }
      this.#deaf += 1;
      if (this.#deaf > 1) this.#usePolling();
      else this.#open();
    });
  }

  #usePolling() {
    this.#close();
    this.#streamAfter = Date.now() + AGAIN;
    this.#say("polling");
    this.#poll();
  }

  #poll() {
    this.#when(this.poll(), (ended) => {
      if (ended) this.#say("ended");
      else if (Date.now() > this.#streamAfter) this.#open();
      else this.#poll();
    });
  }
}
