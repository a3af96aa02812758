// Draws a timeline onto a canvas. 5,000 tests are a few milliseconds: what would lie on the same pixel is drawn once.

import { readable } from "./ansi.js";
import { ticks } from "./timeline-layout.js";
import { clock } from "./words.js";

export const AXIS = 26; // pixels above the lanes
export const RANKS = { bad: 3, warn: 2, good: 1, dim: 0 };

/** How high a lane is, of so many. */
export const laneHeight = (lanes) => Math.max(5, Math.min(24, Math.floor(560 / Math.max(1, lanes))));

/**
 * `view`: [from, to] in ms from the layout's begin. `gutter`: pixels for the workers' names. `tone(status)`: a name of RANKS, how bad it is.
 * `colours`: a CSS colour for each of those, and for text, line, focus and running.
 * `marked`: bars with a frame; `focus`: the one that is looked at; `now`: ms, or null.
 */
export function paint(context, { width, height, layout, view, gutter, tone, colours, marked, focus, now }) {
  const [from, to] = view;
  const x = (time) => gutter + ((time - from) / (to - from)) * (width - gutter);
  const row = laneHeight(layout.lanes.length);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  drawAxis(context, { width, height, view, gutter, colours, x });
  drawWorkers(context, { width, layout, row, colours });
  context.save();
  context.beginPath();
  context.rect(gutter, AXIS, width - gutter, height);
  context.clip();
  layout.lanes.forEach(({ bars }, index) => drawLane(context, bars, AXIS + index * row, row, { view, x, tone, colours }));
  for (const bar of marked) frame(context, bar, row, x, colours.text, 1);
  if (focus) frame(context, focus, row, x, colours.focus, 2);
  if (now !== null) {
    context.fillStyle = colours.running;
    context.fillRect(x(now) - 1, AXIS, 2, height);
  }
  context.restore();
}

function drawAxis(context, { width, height, view, gutter, colours, x }) {
  const [from, to] = view;
  const { step, found } = ticks(from, to, (width - gutter) / 90);
  for (const time of found) {
    context.fillStyle = colours.line;
    context.fillRect(Math.round(x(time)), AXIS - 5, 1, height);
    context.fillStyle = colours.dimText;
    const text = step >= 1000 ? clock(time) : `${clock(time)}${(time / 1000 - Math.floor(time / 1000)).toFixed(3).slice(1)}`;
    if (x(time) + 4 + context.measureText(text).width < width) context.fillText(text, x(time) + 4, AXIS / 2);
  }
}

/** The name of each worker beside its first lane, and a line above it. */
function drawWorkers(context, { width, layout, row, colours }) {
  layout.lanes.forEach(({ worker }, index) => {
    if (index > 0 && layout.lanes[index - 1].worker === worker) return;
    context.fillStyle = colours.line;
    context.fillRect(0, AXIS + index * row, width, 1);
    context.fillStyle = colours.dimText;
    if (row >= 10) context.fillText(worker, 10, AXIS + (index + 0.5) * row);
  });
}

function drawLane(context, bars, top, row, { view: [from, to], x, tone, colours }) {
  let drawn = -1; // the last pixel, and how bad what is there is
  let rank = -1;
  for (const bar of bars) {
    if (bar.end < from || bar.start > to) continue;
    const kind = tone(bar.result.status);
    const left = x(bar.start);
    const right = Math.max(left + 1.5, x(bar.end) - 0.5);
    if (right <= drawn && RANKS[kind] <= rank) continue;
    drawn = Math.ceil(right);
    rank = RANKS[kind];
    context.fillStyle = colours[kind];
    context.fillRect(left, top + 2, right - left, row - 3);
    if (right - left > 50 && row >= 16) label(context, bar, Math.max(left, x(from)) + 5, right - 4, top + row / 2 + 0.5, colours[kind]);
  }
}

function label(context, { id, result }, left, right, middle, ground) {
  const text = String(result.testName ?? id);
  const fits = Math.floor((10 * (right - left)) / context.measureText("an average").width);
  if (fits < 4) return;
  context.fillStyle = `rgb(${readable([20, 24, 32], ground.match(/[\d.]+/g).slice(0, 3).map(Number)).join(" ")})`;
  context.fillText(text.length > fits ? `${text.slice(0, fits - 1)}…` : text, left, middle, right - left);
}

function frame(context, bar, row, x, colour, thick) {
  const left = x(bar.start);
  const width = Math.max(2, x(bar.end) - left);
  context.strokeStyle = colour;
  context.lineWidth = thick;
  context.strokeRect(left, AXIS + bar.lane * row + 2, width, row - 3);
}
