// What an empty list shows: the three commands that start a first run, ready to copy.

import { html, useState } from "../vendor/htm-preact.js";
import { root } from "../api.js";

export function FirstRun() {
  const url = root.href.replace(/\/$/, "");
  const commands = [
    ["Your tests, with pytest", `pytest --sentri-url ${url} --sentri-project demo`],
    ["Any command", `sentri-events exec --url ${url} --project demo -- echo hello`],
    ["By hand", `curl -d '{"projectId":"demo","name":"by hand"}' ${url}/api/v1/runs`],
  ];
  return html`<section class="card first">
    <h2>No runs yet</h2>
    <p>Start one, and it appears here by itself:</p>
    ${commands.map(([what, command]) => html`<${Command} key=${what} what=${what} command=${command} />`)}
  </section>`;
}

function Command({ what, command }) {
  const [copied, setCopied] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(command);
      setCopied("Copied");
    } catch {
      setCopied("Select and copy"); // browsers allow it on https and localhost only
    }
  };
  return html`<div class="command">
    <div class="dim">${what}</div>
    <code tabindex="0">${command}</code>
    <button onClick=${copy} aria-label="Copy: ${what}">${copied || "Copy"}</button>
  </div>`;
}
