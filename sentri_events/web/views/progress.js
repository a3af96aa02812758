// How far a run is: passed, failed, skipped and what remains, as one bar and as words.

import { html } from "../vendor/htm-preact.js";
import { count } from "../words.js";

const PARTS = [
  ["failed", "bad"],
  ["passed", "good"],
  ["skipped", "dim"],
];

/** `counts`: {passed, failed, skipped, total}, each a number or null. */
export function ProgressBar({ counts, running }) {
  const done = PARTS.reduce((sum, [name]) => sum + (counts[name] ?? 0), 0);
  const total = Math.max(counts.total ?? 0, done);
  const share = (number) => (total ? (100 * number) / total : 0);
  const said = `${count(done)} of ${count(total)} done, ${count(counts.failed ?? 0)} failed`;
  return html`<div
    class="bar ${running ? "running" : ""}"
    role="progressbar"
    aria-valuemin="0"
    aria-valuemax=${total}
    aria-valuenow=${done}
    aria-valuetext=${said}
    aria-label="Tests"
  >
    ${PARTS.map(
      ([name, kind]) => counts[name] > 0 && html`<i key=${name} class=${kind} style=${{ width: `${share(counts[name])}%` }}></i>`,
    )}
  </div>`;
}

export function Counts({ counts, running }) {
  const done = PARTS.reduce((sum, [name]) => sum + (counts[name] ?? 0), 0);
  const left = Math.max(0, (counts.total ?? 0) - done);
  return html`<span class="counts">
    ${(counts.failed ?? 0) > 0 && html`<b class="bad">${count(counts.failed)} failed</b>`}
    <span class=${counts.passed ? "good" : ""}>${count(counts.passed ?? 0)} passed</span>
    ${(counts.skipped ?? 0) > 0 && html`<span>${count(counts.skipped)} skipped</span>`}
    ${left > 0 && html`<span class="dim">${count(left)} ${running ? "to go" : "not run"}</span>`}
  </span>`;
}
