// How long a run still takes, from the pace of its last results; null where that cannot be told yet. Pure.

const LAST = 50; // results whose pace counts: what is fast now may have been slow at first
const LEAST = 5;

/** Milliseconds from `now`. */
export function remaining(run, now) {
  const { passed, failed, skipped, total } = run.counts;
  const left = total - passed - failed - skipped;
  const times = [...run.results.values()].slice(-LAST).map((result) => result.at);
  if (left <= 0 || times.length < LEAST || times.some((time) => time === 0)) return null;
  const span = Math.max(...times) - Math.min(...times);
  const pace = run.results.size <= LAST ? (Math.max(...times) - Date.parse(run.fields.startedAt)) / times.length : span / (times.length - 1);
  return Math.max(0, pace * left - (now - Math.max(...times)));
}
