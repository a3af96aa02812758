// What differs between two runs of the same tests. Pure.

import { countedAs } from "./run-state.js";

const SLOWER = 1.5; // times as long as before
const LEAST = 100; // milliseconds of difference that anybody would notice

/**
 * Both are maps testId -> result. Each list holds {test, now, before}, the worst first; `before` or `now` is missing in
 * `added` and `removed`.
 */
export function compare(now, before) {
  const lists = { newlyFailing: [], stillFailing: [], newlyPassing: [], slower: [], added: [], removed: [] };
  for (const [test, result] of now) {
    const earlier = before.get(test);
    const pair = { test, now: result, before: earlier };
    const [is, was] = [countedAs(result.status), earlier && countedAs(earlier.status)];
    if (is === "failed") lists[was === "failed" ? "stillFailing" : "newlyFailing"].push(pair);
    else if (was === "failed" && is === "passed") lists.newlyPassing.push(pair);
    if (!earlier) lists.added.push(pair);
    else if (is === "passed" && was === "passed" && isSlower(result.durationMs, earlier.durationMs)) lists.slower.push(pair);
  }
  for (const [test, result] of before) if (!now.has(test)) lists.removed.push({ test, before: result });
  lists.slower.sort((a, b) => difference(b) - difference(a));
  return lists;
}

const difference = (pair) => pair.now.durationMs - pair.before.durationMs;

const isSlower = (now, before) => now >= SLOWER * before && now - before >= LEAST;
