// Where the page is: its path says which view, its query what stands in it. All that one sees can be linked to.

import { useEffect, useState } from "./vendor/htm-preact.js";
import { root } from "./api.js";

const listeners = new Set();
const changed = () => listeners.forEach((listener) => listener());
addEventListener("popstate", changed);

/** {view: "runs"} or {view: "run", id}. */
export function place() {
  const below = location.pathname.slice(root.pathname.length);
  const found = /^runs\/([^/]+)$/.exec(below);
  return found ? { view: "run", id: decodeURIComponent(found[1]) } : { view: "runs" };
}

/** The link to a run, with parameters for its view. */
export function runLink(id, parameters = {}) {
  return linkTo(`runs/${encodeURIComponent(id)}`, parameters);
}

/** The link to the list. */
export const listLink = (parameters = {}) => linkTo("", parameters);

function linkTo(path, parameters) {
  const made = new URL(path, root);
  for (const [name, value] of Object.entries(parameters)) if (value) made.searchParams.set(name, value);
  return made.pathname + made.search;
}

/** Go there without loading the page anew. */
export function go(link) {
  history.pushState(null, "", link);
  changed();
}

/** For a link's onClick: `go`, unless the click is one for another tab. */
export function follow(event) {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(event.currentTarget.href);
  scrollTo(0, 0);
}

/** The query's parameters as an object, and a function that changes some of them in place ("" or null removes one). */
export function useAddress() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const listener = () => redraw((count) => count + 1);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return [Object.fromEntries(new URLSearchParams(location.search)), setQuery];
}

/** Change some of the query's parameters ("" or null removes one). */
export function setQuery(changes) {
  const made = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null || value === undefined) made.searchParams.delete(name);
    else made.searchParams.set(name, value);
  }
  history.replaceState(null, "", made);
  changed();
}
