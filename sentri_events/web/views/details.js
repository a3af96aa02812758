// What a run document holds besides what is shown elsewhere: as it is.

import { html } from "../vendor/htm-preact.js";
import { artifactsOf } from "./artifacts.js";

const SHOWN = new Set(
  "id projectId name type status startedAt finishedAt duration error passed failed skipped total tests testQueue workspaceId logsTruncated".split(" "),
);

export function Details({ fields }) {
  const files = new Set(artifactsOf(fields).map(([name]) => `${name}Path`));
  const rest = Object.entries(fields).filter(
    ([name, value]) => !SHOWN.has(name) && !files.has(name) && name !== "videoSegments" && value !== null && value !== "",
  );
  if (rest.length === 0) return null;
  return html`<details class="details">
    <summary>More about this run <span class="dim">${rest.map(([name]) => name).join(", ")}</span></summary>
    <dl>
      ${rest.map(
        ([name, value]) => html`<div key=${name}>
          <dt>${name}</dt>
          <dd>${typeof value === "object" ? html`<pre>${JSON.stringify(value, null, 2)}</pre>` : String(value)}</dd>
        </div>`,
      )}
    </dl>
  </details>`;
}
