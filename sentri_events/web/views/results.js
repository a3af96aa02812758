// The results of a run: failed first, each opening to its error.
//
// Props: `run` (run-state.js), `version` (changes with it), `selected` (a testId or null), `onSelect(testId or null)`.

import { html } from "../vendor/htm-preact.js";
import { countedAs } from "../run-state.js";
import { duration } from "../words.js";
import { Status } from "./status.js";

const ORDER = { failed: 0, null: 1, passed: 2, skipped: 3 };

export function ResultsView({ run, selected, onSelect }) {
  const results = [...run.results.values()].sort((a, b) => ORDER[countedAs(a.status)] - ORDER[countedAs(b.status)]);
  return html`<ul class="results">
    ${results.slice(0, 500).map(
      (result) => html`<li key=${result.testId}>
        <button aria-expanded=${result.testId === selected} onClick=${() => onSelect(result.testId === selected ? null : result.testId)}>
          <${Status} status=${result.status} />
          <span class="name">${result.testName ?? result.testId}</span>
          <span class="time">${duration(result.durationMs)}</span>
        </button>
        ${result.testId === selected && html`<pre class="error" tabindex="0">${result.error ?? result.reason ?? "No error."}</pre>`}
      </li>`,
    )}
  </ul>`;
}
