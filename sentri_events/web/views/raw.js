// Every stored event as it is, newest first: what the other views do not know is not hidden.

import { html, useMemo, useState } from "../vendor/htm-preact.js";
import { setQuery, useAddress } from "../address.js";
import { count } from "../words.js";
import { save } from "../save.js";

const PAGE = 100;

export function RawView({ run, version }) {
  const [{ type = "" }] = useAddress();
  const [most, setMost] = useState(PAGE);
  const types = useMemo(() => [...new Set(run.events.map(({ event }) => event.type))].sort(), [run, version]);
  const events = type ? run.events.filter(({ event }) => event.type === type) : run.events;
  const asText = () => events.map((entry) => JSON.stringify(entry)).join("\n") + "\n";
  return html`<div class="filter">
      <label>Type
        <select value=${type} onChange=${(event) => setQuery({ type: event.target.value })}>
          <option value="">all</option>
          ${types.map((name) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select>
      </label>
      <button onClick=${() => save(`${run.id}.ndjson`, asText(), "application/x-ndjson")}>Download as JSON lines</button>
    </div>
    ${events.length === 0
      ? html`<p class="empty card">Nothing has happened yet.</p>`
      : html`<ol class="raw card" aria-label="Events, newest first">
          ${events
            .slice(-most)
            .reverse()
            .map((entry) => html`<${Entry} key=${entry.seq} entry=${entry} />`)}
        </ol>`}
    ${events.length > most &&
    html`<button class="older" onClick=${() => setMost(most + 5 * PAGE)}>Older ones: ${count(events.length - most)}</button>`}`;
}

/** Its JSON is made when it is opened. */
function Entry({ entry: { seq, at, event } }) {
  const [open, setOpen] = useState(false);
  const { type, ...rest } = event;
  return html`<li>
    <details onToggle=${({ target }) => setOpen(target.open)}>
      <summary>
        <span class="dim">${seq}</span> <span class="dim">${at.slice(11, 23)}</span> <b>${type}</b>
        <span class="start dim">${JSON.stringify(rest).slice(0, 160)}</span>
      </summary>
      ${open && html`<pre>${JSON.stringify(event, null, 2)}</pre>`}
    </details>
  </li>`;
}
