// A status as a word with its sign: colour is never the only difference.

import { html } from "../vendor/htm-preact.js";

const SIGNS = {
  running: "●",
  completed: "✓",
  completed_empty: "∅",
  failed: "✕",
  aborted: "⊘",
  interrupted: "⚡",
  passed: "✓",
  xpassed: "✓",
  warning: "!",
  error: "✕",
  skipped: "–",
  xfailed: "–",
};

/** The kind that style.css colours by. */
export function tone(status) {
  if (status === "running") return "running";
  if (["completed", "passed", "xpassed"].includes(status)) return "good";
  if (["failed", "error"].includes(status)) return "bad";
  if (["aborted", "interrupted", "warning"].includes(status)) return "warn";
  return "dim";
}

export const sign = (status) => SIGNS[status] ?? "·";

export function Status({ status }) {
  return html`<span class="status ${tone(status)}"
    ><span aria-hidden="true">${sign(status)}</span> ${String(status).replaceAll("_", " ")}</span
  >`;
}
