// The head of a run: how it stands, how long it has taken and still takes, and what there is besides.

import { html, useEffect } from "../vendor/htm-preact.js";
import { remaining } from "../estimate.js";
import { setIcon, setTitle } from "../favicon.js";
import { useClock } from "../hooks.js";
import { clock, count, duration } from "../words.js";
import { Announce } from "./announce.js";
import { Artifacts, artifactsOf } from "./artifacts.js";
import { Details } from "./details.js";
import { ProgressBar } from "./progress.js";
import { Status, sign, tone } from "./status.js";

/**
 * `live`: it happens now, so the clock ticks while it runs; else it is shown as at `run.moment` (player.js).
 * `lost`: since when nothing is heard of it, or 0: then nobody knows whether it still runs.
 */
export function RunHead({ run, live, lost, children }) {
  const { fields, counts } = run;
  const running = fields.status === "running";
  const ticking = useClock(running && live && !lost);
  const now = lost || (live ? ticking : run.moment);
  const started = Date.parse(fields.startedAt);
  const left = running ? remaining(run, now) : null;
  useTab(run);
  return html`<section class="head card ${lost ? "lost" : ""}" aria-label="The run">
    <div class="stand">
      <${Status} status=${fields.status} />
      <span class="clock" title="Since ${new Date(started).toLocaleString()}">
        ${running ? clock(now - started) : duration(fields.duration)}
      </span>
      ${lost > 0 && html`<span class="warn">not known since ${new Date(lost).toLocaleTimeString()}</span>`}
      ${left !== null && !lost && html`<span class="dim">about ${clock(left)} to go</span>`}
      <span class="what dim">
        ${fields.projectId} · ${run.id} · <time datetime=${fields.startedAt}>${new Date(started).toLocaleString()}</time>
      </span>
      ${children}
    </div>
    <${Numbers} counts=${counts} running=${running} />
    <${ProgressBar} counts=${counts} running=${running} />
    ${fields.error && html`<pre class="error" role="alert">${fields.error}</pre>`}
    <${Artifacts} artifacts=${artifactsOf(fields)} />
    <${Details} fields=${fields} />
    <${Announce} run=${run} />
  </section>`;
}

function Numbers({ counts, running }) {
  const left = Math.max(0, counts.total - counts.passed - counts.failed - counts.skipped);
  const numbers = [
    ["failed", counts.failed, counts.failed ? "bad" : "dim"],
    ["passed", counts.passed, counts.passed ? "good" : "dim"],
    ["skipped", counts.skipped, counts.skipped ? "" : "dim"],
    [running ? "to go" : "not run", left, left ? "" : "dim"],
  ];
  return html`<dl class="numbers">
    ${numbers.map(
      ([name, number, kind]) => html`<div key=${name} class=${kind}>
        <dt>${name}</dt>
        <dd>${count(number)}</dd>
      </div>`,
    )}
  </dl>`;
}

/** The browser's tab says how it stands. */
function useTab(run) {
  const { fields, counts } = run;
  const running = fields.status === "running";
  const done = counts.passed + counts.failed + counts.skipped;
  const share = !running ? 1 : counts.total ? Math.max(0.05, done / counts.total) : 0.25;
  const said = running && counts.total ? `${Math.floor((100 * done) / counts.total)} %` : sign(fields.status);
  const failing = counts.failed ? `${count(counts.failed)} failed · ` : "";
  setIcon(tone(fields.status), share, counts.failed > 0);
  setTitle(`${said} ${failing}${fields.name || run.id}`);
  useEffect(() => () => setIcon("dim"), []);
}
