// The timeline's canvas: to point at, to drag, to zoom with the wheel, or to go through by keys.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/htm-preact.js";
import { barAt } from "../timeline-layout.js";
import { AXIS, RANKS, laneHeight, paint } from "../timeline-paint.js";
import { clock, duration } from "../words.js";
import { Status, tone } from "./status.js";
import { scaled } from "./timeline-zoom.js";

const NEAR = 4; // pixels beside a bar that still count as on it

/**
 * `layout` (timeline-layout.js), `slowest` (bars that are marked), `view` ([from, to]), `setView(view or null)`, `now` (ms, or
 * null), `chosen` (a testId or null), `onSelect(bar)`. Its colours are those of the legend in the element before it.
 */
export function Chart({ layout, slowest, view, setView, now, chosen, onSelect }) {
  const canvas = useRef(null);
  const [width, setWidth] = useState(0);
  const [hovered, setHovered] = useState(null); // the bar below the pointer
  const [focused, setFocused] = useState(null); // the id of the one that the keys have come to
  const drag = useRef(null);
  const row = laneHeight(layout.lanes.length);
  const height = AXIS + row * layout.lanes.length + 6;
  const longest = Math.max(...layout.lanes.map(({ worker }) => String(worker).length));
  const gutter = longest && row >= 10 ? Math.min(width * 0.25, 7.5 * longest + 24) : 8;
  const time = (x) => view[0] + ((x - gutter) / (width - gutter)) * (view[1] - view[0]);
  const find = (id) => layout.lanes.flatMap(({ bars }) => bars).find((bar) => bar.id === id) ?? null;
  const shown = hovered ?? (focused !== null && find(focused));
  useThemes();

  useLayoutEffect(() => {
    const sized = new ResizeObserver(() => setWidth(canvas.current.parentElement.clientWidth));
    sized.observe(canvas.current.parentElement);
    return () => sized.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!width) return;
    const dots = devicePixelRatio;
    const element = canvas.current;
    if (element.width !== Math.round(width * dots) || element.height !== Math.round(height * dots)) {
      element.width = Math.round(width * dots);
      element.height = Math.round(height * dots);
    }
    const context = element.getContext("2d");
    context.setTransform(dots, 0, 0, dots, 0, 0);
    const colours = coloursOf(element.parentElement);
    const focus = shown || (chosen !== null ? find(chosen) : null);
    paint(context, { width, height, layout, view, gutter, tone, colours, marked: slowest, focus, now });
  });

  const pointed = (event) => {
    const box = canvas.current.getBoundingClientRect();
    const lane = layout.lanes[Math.floor((event.clientY - box.top - AXIS) / row)];
    const x = event.clientX - box.left;
    return lane && x > gutter ? barAt(lane, time(x), (NEAR * (view[1] - view[0])) / (width - gutter)) : null;
  };
  const onWheel = (event) => {
    const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
    const part = (view[1] - view[0]) / (width - gutter);
    if (event.ctrlKey || event.metaKey) {
      const x = event.clientX - canvas.current.getBoundingClientRect().left;
      setView(scaled(view, Math.exp(Math.max(-1, Math.min(1, event.deltaY * 0.005))), time(x)));
    } else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) setView(view.map((edge) => edge + sideways * part));
    else return;
    event.preventDefault();
  };
  useWheel(canvas, onWheel);
  const onPointerDown = (event) => {
    drag.current = { x: event.clientX, view, moved: false };
    canvas.current.setPointerCapture(event.pointerId);
  };
  const onPointerMove = (event) => {
    const from = drag.current;
    if (!from) {
      setHovered(pointed(event));
      return;
    }
    const by = event.clientX - from.x;
    if (!from.moved && Math.abs(by) < 4) return;
    from.moved = true;
    const part = (from.view[1] - from.view[0]) / (width - gutter);
    setHovered(null);
    setView(from.view.map((edge) => edge - by * part));
  };
  const onPointerUp = (event) => {
    const bar = pointed(event);
    if (drag.current && !drag.current.moved && bar) {
      setFocused(bar.id);
      onSelect(bar);
    }
    drag.current = null;
  };
  const onKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const quarter = (view[1] - view[0]) / 4;
    const zooms = { "+": () => scaled(view, 0.5), "=": () => scaled(view, 0.5), "-": () => scaled(view, 2), 0: () => null };
    const moves = { ArrowLeft: -quarter, ArrowRight: quarter };
    if (zooms[event.key]) setView(zooms[event.key]());
    else if (event.shiftKey && moves[event.key]) setView(view.map((edge) => edge + moves[event.key]));
    else if (event.key === "Enter" && focused !== null) onSelect(find(focused));
    else if (event.key === "Escape") setFocused(null);
    else {
      const next = neighbour(layout, focused === null ? null : find(focused), event.key);
      if (!next) return;
      setFocused(next.id);
      setHovered(null);
      if (next.end < view[0] || next.start > view[1]) setView(around(next, view));
    }
    event.preventDefault();
  };
  return html`<div class="timeline card">
    <canvas
      ref=${canvas}
      tabindex="0"
      role="application"
      aria-label="Timeline: arrow keys go from test to test, Enter opens one, plus and minus zoom, 0 shows all"
      aria-describedby="timeline-summary"
      style=${{ height: `${height}px` }}
      onPointerDown=${onPointerDown}
      onPointerMove=${onPointerMove}
      onPointerUp=${onPointerUp}
      onPointerLeave=${() => setHovered(null)}
      onPointerCancel=${() => (drag.current = null)}
      onKeyDown=${onKey}
      onBlur=${() => setFocused(null)}
    ></canvas>
    <${Tip} bar=${shown} width=${width} row=${row} x=${(at) => gutter + ((at - view[0]) / (view[1] - view[0])) * (width - gutter)} />
  </div>`;
}

/** Beside the bar: what it is. It is said, too, as the keys go from bar to bar. */
function Tip({ bar, width, row, x }) {
  const left = bar ? Math.max(8, Math.min(x(bar.start), width - 328)) : 0;
  const place = { left: `${left}px`, top: `${bar ? AXIS + (bar.lane + 1) * row + 4 : 0}px` };
  return html`<div class="tip ${bar ? "" : "unseen"}" role="status" style=${place}>
    ${bar &&
    html`<b>${bar.result.testName ?? bar.id}</b>
      <span><${Status} status=${bar.result.status} /> <span class="time">${duration(bar.end - bar.start)}</span>${" "}
        <span class="dim">from ${clock(bar.start)}${bar.result.worker ? ` on ${bar.result.worker}` : ""}</span></span>`}
  </div>`;
}

/** The bar that a key leads to from another one, or from none. */
function neighbour({ lanes }, from, key) {
  if (key === "Home") return lanes[from?.lane ?? 0].bars[0];
  if (key === "End") return lanes[from?.lane ?? 0].bars.at(-1);
  const along = { ArrowLeft: -1, ArrowRight: 1 }[key];
  const across = { ArrowUp: -1, ArrowDown: 1 }[key];
  if (!along && !across) return null;
  if (!from) return lanes[0].bars[0];
  const { bars } = lanes[from.lane];
  if (along) return bars[bars.indexOf(from) + along] ?? from;
  const lane = lanes[from.lane + across];
  return lane ? barAt(lane, (from.start + from.end) / 2, Infinity) : from;
}

function around({ start, end }, [from, to]) {
  const half = (to - from) / 2;
  return [(start + end) / 2 - half, (start + end) / 2 + half];
}

/** The colours of the theme, as the legend and the text have them. */
function coloursOf(element) {
  const legend = element.previousElementSibling;
  const of = (node, name) => getComputedStyle(node)[name];
  const fills = Object.keys(RANKS).map((kind) => [kind, of(legend.querySelector(`.swatch.${kind}`), "backgroundColor")]);
  return {
    ...Object.fromEntries(fills),
    text: of(element, "color"),
    dimText: of(legend.querySelector("li"), "color"),
    line: of(element, "borderTopColor"),
    focus: of(element, "outlineColor"),
    running: of(element, "caretColor"),
  };
}

/** Draws again when the theme changes. */
function useThemes() {
  const [, redraw] = useState(0);
  useEffect(() => {
    const changed = () => redraw((number) => number + 1);
    const chosen = new MutationObserver(changed);
    chosen.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", changed);
    return () => {
      chosen.disconnect();
      system.removeEventListener("change", changed);
    };
  }, []);
}

/** As onWheel, but it may keep the page from scrolling. */
function useWheel(element, onWheel) {
  const latest = useRef(onWheel);
  latest.current = onWheel;
  useEffect(() => {
    const turned = (event) => latest.current(event);
    element.current.addEventListener("wheel", turned, { passive: false });
    return () => element.current?.removeEventListener("wheel", turned);
  }, []);
}
