// An error as a test runner wrote it: what was expected stands out, what is around it stands back.

import { html } from "../vendor/htm-preact.js";
import { Coloured } from "./coloured.js";

const KINDS = [
  [/^E( |$)/, "bad"], // pytest: what went wrong
  [/^>( |$)/, "bold"], // pytest: the line at which it did
  [/^[^\s:]+:\d+:/, "place"],
  [/^\s+(at |File ")/, "place"],
  [/^([_\-=] ?){8,}/, "dim"],
];

export function Traceback({ text, label = "Error" }) {
  const lines = String(text).split("\n");
  return html`<pre class="traceback" tabindex="0" role="region" aria-label=${label}>${lines.map((line, index) => {
    const kind = KINDS.find(([pattern]) => pattern.test(line))?.[1];
    return html`<span key=${index} class=${kind}><${Coloured} text=${line} />${"\n"}</span>`;
  })}</pre>`;
}
