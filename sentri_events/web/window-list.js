// A list of any length of which only the rows in sight are drawn. Rows may have any height: it is guessed until it is seen.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Heights } from "./heights.js";

const BEYOND = 300; // pixels above and below what is seen that are drawn, too
const BARS = 100; // pixels at the page's edges that may be covered

/**
 * `count` rows; `row(index)` draws one, `guess(index)` says how high it may be. A row is an element with a `key` that tells
 * `data-index`; with `data-key`, too, its height is kept in the Map `measured`, which is emptied when the width changes.
 * `age`: rows may only be added at the end while it stays the same.
 * `scroller`: a ref to the element that scrolls; the page, if there is none. `atEnd`: stay at the end.
 * `handle.current`: `show(index)` scrolls to a row that is not in sight, `focus(index)` goes to its button as well,
 * `first()` is the first row in sight.
 */
export function WindowList({ count, row, guess, age, measured, scroller, atEnd = false, handle, ...attributes }) {
  const list = useRef(null);
  const kept = useRef({ age: null, heights: null });
  const sight = useRef({ top: 0, height: 900 });
  const target = useRef(null); // {index, space above it} until it is there
  const focused = useRef(null);
  const [, setDrawing] = useState(0);
  const redraw = () => setDrawing((number) => number + 1);

  if (kept.current.age !== age || kept.current.heights.length > count) kept.current = { age, heights: new Heights() };
  const { heights } = kept.current;
  for (let index = heights.length; index < count; index += 1) heights.push(guess(index));
  const { height } = sight.current;
  const top = atEnd ? Math.max(0, heights.total - height) : sight.current.top;
  const first = count ? heights.at(top - BEYOND) : 0;
  const last = count ? heights.at(top + height + BEYOND) : -1;

  const look = () => {
    const { top } = list.current.getBoundingClientRect();
    const element = scroller?.current;
    const edge = element ? element.getBoundingClientRect().top + element.clientTop : 0;
    sight.current = { top: edge - top, height: element ? element.clientHeight : innerHeight };
    return sight.current;
  };

  useEffect(() => {
    const outer = scroller ? scroller.current : window;
    const seen = () => {
      const { top, height } = look();
      const { heights } = kept.current;
      const [from, to] = list.current.dataset.drawn.split(" ").map(Number);
      if (heights.length && (heights.at(top - BEYOND / 2) < from || heights.at(top + height + BEYOND / 2) > to)) redraw();
    };
    let width = null;
    const resized = new ResizeObserver(([{ contentRect }]) => {
      if (width !== null && width !== contentRect.width) measured?.clear();
      width = contentRect.width;
      redraw();
    });
    outer.addEventListener("scroll", seen, { passive: true });
    resized.observe(scroller ? scroller.current : document.documentElement);
    return () => {
      outer.removeEventListener("scroll", seen);
      resized.disconnect();
    };
  }, []);

  useLayoutEffect(() => {
    const before = look();
    const anchor = count ? heights.at(before.top) : 0;
    let moved = 0;
    let changed = false;
    for (const element of list.current.firstElementChild.children) {
      const index = Number(element.dataset.index);
      const seen = element.getBoundingClientRect().height;
      const known = heights.of(index);
      if (element.dataset.key !== undefined) measured.set(element.dataset.key, seen);
      if (Math.abs(seen - known) < 0.5) continue;
      heights.set(index, seen);
      changed = true;
      if (index < anchor) moved += seen - known;
    }
    if (changed) list.current.style.height = `${heights.total}px`;
    const outer = scroller ? scroller.current : document.scrollingElement;
    if (atEnd) outer.scrollTop = outer.scrollHeight;
    else if (target.current) {
      outer.scrollTop += heights.before(target.current.index) - target.current.space - before.top;
      if (!changed) target.current = null;
    } else if (moved) outer.scrollTop += moved;
    if (focused.current !== null) {
      list.current.querySelector(`[data-index="${focused.current}"] button`)?.focus({ preventScroll: true });
      if (!changed) focused.current = null;
    }
    look();
    if (changed) redraw();
  });

  if (handle) {
    const show = (index, nearest) => {
      const { top, height } = look();
      const bars = scroller ? 0 : BARS;
      const begin = heights.before(index);
      const room = height - heights.of(index);
      if (begin >= top + bars && begin <= top + Math.max(room - bars, height / 2)) return;
      const space = !nearest ? Math.max(bars, room / 3) : begin < top + bars ? bars : room - bars;
      target.current = { index, space };
      sight.current = { top: begin - space, height };
      redraw();
    };
    handle.current = {
      show: (index) => show(index, false),
      focus: (index) => {
        focused.current = index;
        show(index, true);
        redraw();
      },
      first: () => heights.at(look().top),
    };
  }
  const drawn = [];
  for (let index = first; index <= last; index += 1) drawn.push(row(index));
  const begin = count ? heights.before(first) : 0;
  return html`<div ...${attributes} ref=${list} data-drawn="${first} ${last}" style=${{ height: `${heights.total}px` }}>
    <div class="drawn" role=${attributes.role && "presentation"} style=${{ transform: `translateY(${begin}px)` }}>${drawn}</div>
  </div>`;
}
