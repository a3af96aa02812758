// The head of a run: status, clock, counts, progress and what it was.

import { html } from "../vendor/htm-preact.js";
import { useClock } from "../hooks.js";
import { clock, duration } from "../words.js";
import { Counts, ProgressBar } from "./progress.js";
import { Status } from "./status.js";

/** `live`: it happens now, so the clock ticks while it runs; else it is shown as of its last event. */
export function RunHead({ run, live }) {
  const { fields, counts } = run;
  const running = fields.status === "running";
  const now = useClock(running && live);
  const started = Date.parse(fields.startedAt);
  const shown = running && live ? now : Date.parse(run.events.at(-1)?.at ?? fields.startedAt);
  return html`<section class="head">
    <${Status} status=${fields.status} />
    <span class="clock">${running ? clock(shown - started) : duration(fields.duration)}</span>
    <${Counts} counts=${counts} />
    <span class="dim">${fields.projectId} · ${run.id}</span>
    <${ProgressBar} counts=${counts} running=${running} />
    ${fields.error && html`<pre class="error">${fields.error}</pre>`}
  </section>`;
}
