// What of a timeline is in sight: [from, to] in milliseconds. It stands in the address, in seconds: `zoom=12.5-40`.

import { useState } from "../vendor/htm-preact.js";
import { setQuery, useAddress } from "../address.js";
import { useLater } from "../hooks.js";

const SMALLEST = 20; // milliseconds that can be zoomed to

/** What is seen, [from, to], kept within the whole, and a function that changes it; null is the whole. */
export function useZoom(whole) {
  const [{ zoom = "" }] = useAddress();
  const [view, setView] = useState(() => {
    const [from, to] = zoom.split("-").map((seconds) => 1000 * Number(seconds));
    return from >= 0 && to > from ? [from, to] : null;
  });
  const note = useLater((text) => setQuery({ zoom: text }));
  const change = (wanted) => {
    const next = wanted && within(wanted, whole);
    const all = !next || (next[0] <= whole[0] && next[1] >= whole[1]);
    setView(all ? null : next);
    note(all ? "" : next.map((time) => (time / 1000).toFixed(3)).join("-"));
  };
  return [view ?? whole, change];
}

/** Nearer by a factor below 1, farther by one above; `at` stays where it is. */
export const scaled = ([from, to], factor, at = (from + to) / 2) => [at - (at - from) * factor, at + (to - at) * factor];

function within([from, to], [first, last]) {
  const length = Math.min(last - first, Math.max(SMALLEST, to - from));
  const begin = Math.max(first, Math.min(from, last - length));
  return [begin, begin + length];
}
