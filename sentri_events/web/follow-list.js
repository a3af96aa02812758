// Follows the list of runs: live through the shared stream, older ones page by page as they are scrolled to.

import { ask } from "./api.js";
import { listen } from "./line.js";
import { addRuns, applyList, newList } from "./list-state.js";
import { onToken, token } from "./session.js";

const PAGE = 50;
const HEARING = new Set(["live", "polling", "connecting"]);

export class ListFollower {
  list = newList();
  connection = { name: "connecting" };
  loaded = false; // the first page is here
  projects = []; // ids of all projects
  lost = 0; // since when (ms) nothing is heard, 0 while something is
  #onChange;
  #filter; // {project, status}: what the server selects by
  #next = null; // the cursor of the next older page
  #reading = false;
  #leave;
  #life = new AbortController();
  #endTokens;

  constructor({ project = "", status = "" }, onChange) {
    this.#filter = { project, status };
    this.#onChange = onChange;
    this.#endTokens = onToken(() => this.loaded || this.more());
    this.#leave = listen(
      { key: "list", kind: "list" },
      (entries) => {
        applyList(this.list, entries);
        this.#onChange();
      },
      (state) => this.#say(state),
    );
    this.more();
  }

  close() {
    this.#life.abort();
    this.#leave();
    this.#endTokens();
  }

  /** Read the next older page, unless all are here. */
  async more() {
    if (this.#reading || (this.loaded && this.#next === null)) return;
    this.#reading = true;
    try {
      const parameters = { ...this.#filter, limit: PAGE, cursor: this.#next };
      const page = await this.#ask("runs", parameters);
      addRuns(this.list, page.data);
      if (!this.loaded) this.projects = (await this.#ask("projects")).data.map((project) => project.id).sort();
      this.#next = page.next;
      this.loaded = true;
      this.list.complete = page.next === null;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === undefined) throw error;
      if (error.status === 401) this.#say({ name: "signed out", sentence: error.message });
    } finally {
      this.#reading = false;
    }
    this.#onChange();
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
