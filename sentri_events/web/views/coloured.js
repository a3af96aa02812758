// A line of text with its ANSI colours, and what is searched for marked in it.

import { html } from "../vendor/htm-preact.js";
import { pieces } from "../ansi.js";
import { count } from "../words.js";

const MOST = 20_000; // characters of one line that are drawn

/** `before`: the lines of the same message above it. `find`: marked wherever it stands, in any case. */
export function Coloured({ text, before = [], find = "" }) {
  const left = text.length - MOST;
  const parts = pieces(left > 0 ? text.slice(0, MOST) : text, before);
  return html`${find ? marked(parts, find.toLowerCase()) : parts.map(draw)}
  ${left > 0 && html`<span class="dim"> … and ${count(left)} characters more</span>`}`;
}

function draw({ text, className, style, mark }) {
  if (mark) return html`<mark class=${className}>${text}</mark>`;
  return className || style ? html`<span class=${className} style=${style}>${text}</span>` : text;
}

/** The pieces, cut where a match begins or ends, which may lie in another piece. */
function marked(parts, find) {
  const whole = parts.map((part) => part.text).join("").toLowerCase();
  const drawn = [];
  let begin = 0;
  let match = whole.indexOf(find);
  for (const part of parts) {
    const end = begin + part.text.length;
    let from = begin;
    while (from < end) {
      while (match !== -1 && match + find.length <= from) match = whole.indexOf(find, match + find.length);
      const inside = match !== -1 && match <= from;
      const edge = match === -1 ? end : inside ? match + find.length : match;
      const to = Math.min(end, edge);
      drawn.push(draw({ ...part, text: part.text.slice(from - begin, to - begin), mark: inside }));
      from = to;
    }
    begin = end;
  }
  return drawn;
}
