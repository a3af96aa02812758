// How long a run still takes, from the pace of its last results; null where that cannot be told. Pure.

const LAST = 50; // results whose pace counts: what is fast now may have been slow at first
const LEAST = 5;

/** Milliseconds from `now`. */
export function remaining(run, now) {
  const { passed, failed, skipped, total } = run.counts;
  const left = total - passed - failed - skipped;
  const times = [...run.results.values()].slice(-LAST).map((result) => result.at);
  if (left <= 0 || times.length < LEAST || times.some((time) => time === 0)) return null;
  const last = Math.max(...times);
  const begin = Date.parse(run.fields.startedAt);
  const pace = run.results.size <= LAST ? (last - begin) / times.length : (last - Math.min(...times)) / (times.length - 1);
  const takes = pace * left - (now - last);
  return takes > 0 ? takes : null; // it should have ended by now: the pace holds no longer
}
