// Follows the list of runs: live through the shared stream, older ones page by page as they are scrolled to.

import { ask } from "./api.js";
import { listen } from "./line.js";
import { addRuns, applyList, newList } from "./list-state.js";
import { onToken, token } from "./session.js";

const PAGE = 50;
const HEARING = new Set(["live", "polling", "connecting"]);

export class ListFollower {
  connection = { name: "connecting" };
  projects = []; // ids of all projects
  lost = 0; // since when (ms) nothing is heard, 0 while something is
  pages = 0; // that were read
  #onChange;
  #shown; // a reading, as `begin` makes it
  #coming = null; // the reading of another choice, until its first page is here
  #leave;
  #life = new AbortController();
  #endTokens;

  /** `choice`: {project, status, text}, each "" for all: what the server selects by. */
  constructor(choice, onChange) {
    this.#shown = begin(choice);
    this.#onChange = onChange;
    this.#endTokens = onToken(() => this.#readFirst());
    this.#leave = listen(
      { key: "list", kind: "list" },
      (entries) => {
        for (const { list } of this.#readings()) applyList(list, entries);
        this.#onChange();
      },
      (state) => {
        this.#say(state);
        if (state.name === "live" || state.name === "polling") this.#readFirst();
      },
    );
    this.more();
  }

  get list() {
    return this.#shown.list;
  }

  /** Whether the newest runs of this choice are here. */
  has(choice) {
    return this.#shown.loaded && same(choice, this.#shown.choice);
  }

  /** Read the runs of another choice. The list stays as it is until the newest of them are here. */
  select(choice) {
    if (same(choice, this.#readings().at(-1).choice)) return;
    this.#coming = begin(choice);
    this.more();
  }

  close() {
    this.#life.abort();
    this.#leave();
    this.#endTokens();
  }

  /** Read the next older page, unless all are here. */
  async more() {
    const reading = this.#readings().at(-1);
    if (reading.busy || (reading.loaded && reading.next === null)) return;
    reading.busy = true;
    try {
      const page = await this.#ask("runs", { ...reading.choice, limit: PAGE, cursor: reading.next });
      addRuns(reading.list, page.data);
      Object.assign(reading, { next: page.next, loaded: true });
      if (reading === this.#coming) [this.#shown, this.#coming] = [reading, null];
      if (this.pages === 0) this.projects = (await this.#ask("projects")).data.map((project) => project.id).sort();
      this.pages += 1;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === undefined) throw error;
      if (error.status === 401) this.#say({ name: "signed out", sentence: error.message });
    } finally {
      reading.busy = false;
    }
    this.#onChange();
  }

  /** Try the first page again, where it did not come. */
  #readFirst() {
    if (!this.#readings().at(-1).loaded) this.more();
  }

  #readings() {
    return this.#coming ? [this.#shown, this.#coming] : [this.#shown];
  }

  #ask(path, parameters) {
    return ask(path, { parameters, token: token(), signal: this.#life.signal });
  }

  #say(connection) {
    this.connection = connection;
    this.lost = HEARING.has(connection.name) ? 0 : this.lost || Date.now();
    this.#onChange();
  }
}

/** The runs of one choice, of which none is read yet; `next` is the cursor of the page to read. */
const begin = (choice) => ({ choice, list: newList(), next: null, loaded: false, busy: false });

const same = (one, other) => ["project", "status", "text"].every((name) => one[name] === other[name]);
