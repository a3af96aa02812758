// The tests of a run over time, by worker.
//
// Props: as ResultsView. A result may have `startedAt` (ms since 1970) and `durationMs`; else `at` is when it came.

import { html } from "../vendor/htm-preact.js";
import { tone } from "./status.js";

export function TimelineView({ run, onSelect }) {
  const results = [...run.results.values()].filter((result) => result.startedAt);
  const begin = Math.min(...results.map((result) => result.startedAt));
  const end = Math.max(...results.map((result) => result.startedAt + (result.durationMs ?? 0)), begin + 1);
  const at = (time) => (1000 * (time - begin)) / (end - begin);
  const workers = [...new Set(results.map((result) => result.worker ?? ""))].sort();
  return html`<svg class="timeline" viewBox="0 0 1000 ${24 * Math.max(1, workers.length)}" role="img" aria-label="Timeline">
    ${results.map(
      (result) => html`<rect
        key=${result.testId}
        class=${tone(result.status)}
        x=${at(result.startedAt)}
        y=${24 * workers.indexOf(result.worker ?? "") + 2}
        width=${Math.max(1, at(result.startedAt + (result.durationMs ?? 0)) - at(result.startedAt))}
        height="20"
        onClick=${() => onSelect(result.testId)}
      >
        <title>${result.testName ?? result.testId}</title>
      </rect>`,
    )}
  </svg>`;
}
