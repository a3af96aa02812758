// Every stored event as it is: what the other views do not know is not hidden.

import { html, useState } from "../vendor/htm-preact.js";

const PAGE = 200;

export function RawView({ run }) {
  const [shown, setShown] = useState(PAGE);
  const events = run.events.slice(-shown).reverse();
  return html`<ol class="raw">
      ${events.map(
        ({ seq, at, event }) => html`<li key=${seq}>
          <details>
            <summary><span class="dim">${seq} ${at}</span> <b>${event.type}</b></summary>
            <pre>${JSON.stringify(event, null, 2)}</pre>
          </details>
        </li>`,
      )}
    </ol>
    ${run.events.length > shown &&
    html`<button onClick=${() => setShown(shown + PAGE)}>${(run.events.length - shown).toLocaleString()} older ones …</button>`}`;
}
