// The list of runs: newest first, live; the address keeps the filter.

import { html, useEffect, useRef } from "../vendor/htm-preact.js";
import { follow, runLink, useAddress } from "../address.js";
import { ListFollower } from "../follow-list.js";
import { setTitle } from "../favicon.js";
import { useClock, useFollower, useLater } from "../hooks.js";
import { shown } from "../list-state.js";
import { ago, clock, duration } from "../words.js";
import { FirstRun } from "./first-run.js";
import { Counts, ProgressBar } from "./progress.js";
import { SignIn } from "./sign-in.js";
import { Status } from "./status.js";
import { Top } from "./top.js";

const LONGEST = 128; // characters of a text that the server searches for
const STATUSES = ["running", "completed", "completed_empty", "failed", "aborted", "interrupted"];

export function Runs() {
  const [query] = useAddress();
  const { project = "", status = "", text = "" } = query;
  const choice = { project, status, text };
  const follower = useFollower((redraw) => new ListFollower(choice, redraw), "list");
  const select = useLater((wanted) => follower.select(wanted));
  useEffect(() => select(choice), [project, status, text]);
  const runs = shown(follower.list, choice);
  const ticking = useClock(true);
  const now = follower.lost || ticking; // of runs that nobody hears of, no clock goes on
  useEffect(() => setTitle("Runs · sentri-events"), []);
  const filtered = project || status || text;
  const signedOut = follower.connection.name === "signed out";
  return html`<${Top} connection=${follower.connection}><h1>Runs</h1></${Top}>
    <main>
      ${signedOut && html`<${SignIn} sentence=${follower.connection.sentence} />`}
      ${(follower.pages > 0 || !signedOut) && html`<${Filter} query=${query} projects=${projectsOf(follower, project)} />`}
      ${runs.length === 0 && follower.has(choice) && (filtered ? html`<p class="empty">No run fits the filter.</p>` : html`<${FirstRun} />`)}
      <ol class="runs" aria-label="Runs, newest first">
        ${runs.map((run) => html`<${Row} key=${run.id} run=${run} now=${now} />`)}
      </ol>
      <${More} follower=${follower}>${!signedOut && !follower.has(choice) && "Loading …"}</${More}>
    </main>`;
}

function Filter({ query, projects }) {
  const [, setQuery] = useAddress();
  const set = (name) => (event) => setQuery({ [name]: event.target.value });
  return html`<form class="filter" role="search" onSubmit=${(event) => event.preventDefault()}>
    <label>Project
      <select value=${query.project ?? ""} onChange=${set("project")}>
        <option value="">all</option>
        ${projects.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
      </select>
    </label>
    <label>Status
      <select value=${query.status ?? ""} onChange=${set("status")}>
        <option value="">all</option>
        ${STATUSES.map((name) => html`<option key=${name} value=${name}>${name.replaceAll("_", " ")}</option>`)}
      </select>
    </label>
    <label class="wide">Text
      <input type="search" value=${query.text ?? ""} onInput=${set("text")} maxlength=${LONGEST} placeholder="name or id" />
    </label>
  </form>`;
}

function Row({ run, now }) {
  const running = run.status === "running";
  const started = Date.parse(run.startedAt);
  return html`<li class="run">
    <a href=${runLink(run.id)} onClick=${follow}>
      <${Status} status=${run.status} />
      <span class="name">${run.name || run.id}</span>
      <span class="dim id">${run.name ? run.id : ""}</span>
      <span class="project">${run.projectId}</span>
      <${ProgressBar} counts=${run} running=${running} />
      <${Counts} counts=${run} running=${running} />
      <span class="time">${running ? clock(now - started) : duration(run.duration)}</span>
      <time class="dim" datetime=${run.startedAt}>${ago(started, now)}</time>
    </a>
  </li>`;
}

/** Reads the next page when it comes into view. */
function More({ follower, children }) {
  const element = useRef(null);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && follower.more());
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [follower, follower.pages]);
  return html`<div ref=${element} class="more">${children}</div>`;
}

function projectsOf({ projects, list }, chosen) {
  const used = [...list.runs.values()].map((run) => run.projectId);
  return [...new Set([...projects, ...used, ...(chosen ? [chosen] : [])])].sort();
}
