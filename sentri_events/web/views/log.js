// The log of a run, line by line.
//
// Props: `run` (run-state.js; `run.lines` only grows until the run is another object), `version`, `selected` (a testId or null).

import { html } from "../vendor/htm-preact.js";

export function LogView({ run }) {
  return html`<div class="log" role="log" aria-label="Log" tabindex="0">
    ${run.lines.slice(-500).map((line) => html`<div class="line ${line.level}">${line.text}</div>`)}
  </div>`;
}
