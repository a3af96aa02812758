// Plays a run again: hands the run as it was at a moment to `onReplay`, and null for as it is.
//
// Props: `full` (the whole run), `document` (as it was read), `replayed` (what `onReplay` was last given), `onReplay`.

import { html, useMemo, useState } from "../vendor/htm-preact.js";
import { apply, beginning } from "../run-state.js";
import { clock } from "../words.js";

export function ReplayBar({ full, document, replayed, onReplay }) {
  const [position, setPosition] = useState(null);
  const begin = Date.parse(full.fields.startedAt);
  const end = useMemo(() => Date.parse(full.events.at(-1)?.at ?? full.fields.startedAt), [full.version]);
  const show = (milliseconds) => {
    setPosition(milliseconds);
    const run = beginning(document, full.events);
    apply(run, full.events.filter((entry) => Date.parse(entry.at) <= begin + milliseconds));
    onReplay(run);
  };
  return html`<footer class="replay">
    <label for="scrubber">Replay</label>
    <input id="scrubber" type="range" min="0" max=${end - begin} value=${position ?? end - begin} onInput=${(event) => show(Number(event.target.value))} />
    <span class="time">${clock(position ?? end - begin)} / ${clock(end - begin)}</span>
    ${replayed && html`<button onClick=${() => onReplay(null)}>Back to the end</button>`}
  </footer>`;
}
