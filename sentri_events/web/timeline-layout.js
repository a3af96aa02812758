// Where the tests of a run stand on its timeline: a lane for each that ran at the same time as another, by worker. Pure.

const MOST_LANES = 200;
const ROUNDED = 2; // milliseconds by which one test may seem to begin before the one above it has ended
const collator = new Intl.Collator(undefined, { numeric: true });

/**
 * {begin, end (ms since 1970), lanes: [{worker, bars}], count, side}. A bar is {id, start, end (ms from begin), result, lane};
 * those of a lane are in order and do not overlap. `side`: how many ran side by side at most.
 * A result without `startedAt` is taken to have ended when it came.
 */
export function layOut(results) {
  const bars = [];
  for (const result of results) {
    const took = result.durationMs ?? 0;
    const start = result.startedAt ?? (result.at ? result.at - took : null);
    if (typeof start === "number") bars.push({ id: result.testId, start, end: start + took, result, lane: 0 });
  }
  bars.sort((one, other) => one.start - other.start);
  const begin = bars[0]?.start ?? 0;
  let end = 0;
  const workers = new Map();
  for (const bar of bars) {
    bar.start -= begin;
    bar.end -= begin;
    end = Math.max(end, bar.end);
    const worker = bar.result.worker ?? "";
    if (!workers.has(worker)) workers.set(worker, []);
    place(workers.get(worker), bar, worker);
  }
  const lanes = [...workers.keys()].sort(collator.compare).flatMap((worker) => workers.get(worker));
  lanes.forEach((lane, index) => lane.bars.forEach((bar) => (bar.lane = index)));
  return { begin, end: begin + end, lanes, count: bars.length, side: sideBySide(bars) };
}

/** Into the first lane of the worker that is free, or a new one; where there are too many, into the one that is free first. */
function place(lanes, bar, worker) {
  let lane = lanes.find(({ free }) => free <= bar.start + ROUNDED);
  if (!lane && lanes.length >= MOST_LANES) lane = lanes.reduce((one, other) => (other.free < one.free ? other : one));
  if (!lane) lanes.push((lane = { worker, bars: [], free: 0 }));
  lane.bars.push(bar);
  lane.free = Math.max(lane.free, bar.end);
}

function sideBySide(bars) {
  const ends = bars.map(({ end }) => end).sort((one, other) => one - other);
  let ended = 0;
  let most = 0;
  bars.forEach(({ start }, begun) => {
    while (ends[ended] <= start + ROUNDED && ended < begun) ended += 1;
    most = Math.max(most, begun + 1 - ended);
  });
  return most;
}

/** The bar of a lane at a time, or the nearest one that is at most `near` milliseconds away; null if there is none. */
export function barAt({ bars }, time, near) {
  let low = 0;
  let high = bars.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (bars[middle].start <= time) low = middle + 1;
    else high = middle;
  }
  const away = (bar) => (bar ? Math.max(0, bar.start - time, time - bar.end) : Infinity);
  const [one, other] = [bars[low - 1], bars[low]];
  const bar = away(one) <= away(other) ? one : other;
  return away(bar) <= near ? bar : null;
}

/** The moments to mark between two (ms), about `count` of them, at round distances. */
export function ticks(from, to, count) {
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5];
  const wanted = (to - from) / count;
  const step = steps.find((one) => one >= wanted) ?? 36e5 * Math.ceil(wanted / 36e5);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return { step, found };
}
