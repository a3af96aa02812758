// What only happens live: the picture with its age, LLM text as it grows, and volatile events of any other type, raw.

import { html, useEffect, useRef } from "../vendor/htm-preact.js";
import { useClock } from "../hooks.js";
import { duration } from "../words.js";

export function Live({ run }) {
  if (!run.frame && !run.tokens && run.volatile.size === 0) return null;
  return html`<section class="live" aria-label="Live">
    ${run.frame && html`<${Picture} frame=${run.frame} />`}
    ${run.tokens && html`<${Tokens} text=${run.tokens} />`}
    ${[...run.volatile.values()].map(
      (event) => html`<details key=${event.type} class="volatile">
        <summary>${event.type}</summary>
        <pre>${JSON.stringify(event, null, 2)}</pre>
      </details>`,
    )}
  </section>`;
}

/** On a canvas: of an <img> whose address changes, browsers keep the last ones decoded, at megabytes each. */
function Picture({ frame }) {
  const canvas = useRef(null);
  const now = useClock(true);
  const age = Math.max(0, now - frame.at);
  useEffect(() => {
    let outdated = false;
    const draw = (bitmap) => {
      if (!outdated) {
        const { width, height } = bitmap;
        const element = canvas.current;
        if (element.width !== width || element.height !== height) Object.assign(element, { width, height });
        element.getContext("2d").drawImage(bitmap, 0, 0);
      }
      bitmap.close();
    };
    decoded(frame.data).then(draw, () => {}); // what is no picture leaves the last one, which grows old
    return () => (outdated = true);
  }, [frame]);
  return html`<figure>
    <canvas ref=${canvas} role="img" aria-label="What the run's browser shows"></canvas>
    <figcaption class=${age > 10_000 ? "warn" : "dim"}>${age < 2000 ? "now" : `${duration(age)} old`}</figcaption>
  </figure>`;
}

async function decoded(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
  return createImageBitmap(new Blob([bytes]));
}

/** Stays at its end while it grows, unless somebody has scrolled up. */
function Tokens({ text }) {
  const element = useRef(null);
  const atEnd = useRef(true);
  useEffect(() => {
    if (atEnd.current) element.current.scrollTop = element.current.scrollHeight;
  }, [text]);
  const onScroll = ({ target }) => {
    atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 20;
  };
  return html`<pre class="tokens" ref=${element} onScroll=${onScroll} tabindex="0" role="region" aria-label="LLM text">${text}</pre>`;
}
