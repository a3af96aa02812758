// What only happens live: the picture with its age, and LLM text as it grows.

import { html } from "../vendor/htm-preact.js";
import { useClock } from "../hooks.js";

export function Live({ run }) {
  const now = useClock(run.frame !== null);
  if (!run.frame && !run.tokens) return null;
  return html`<section class="live">
    ${run.frame &&
    html`<figure>
      <img alt="What the run's browser shows" src="data:image/jpeg;base64,${run.frame.data}" />
      <figcaption class="dim">${Math.max(0, Math.round((now - run.frame.at) / 1000))} s old</figcaption>
    </figure>`}
    ${run.tokens && html`<pre class="tokens" tabindex="0" aria-label="LLM text">${run.tokens}</pre>`}
  </section>`;
}
