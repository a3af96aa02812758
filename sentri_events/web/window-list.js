// A list of any length of which only the rows in sight are drawn. Rows may have any height: it is guessed until it is seen.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Heights } from "./heights.js";

const BEYOND = 300; // pixels above and below what is seen

/**
 * `count` rows; `row(index)` draws one (an element with a `key`), `guess(index)` says how high it may be.
 * `age`: rows may only be added at the end while it stays the same. `measured`: Map of a row's key -> its height; the owner
 * empties it when all heights change.
 * `scroller`: a ref to the element that scrolls; the page, if there is none. `atEnd`: stay at the end.
 * `handle.current.show(index)` scrolls to a row that is not in sight; `handle.current.first()` is the first one in sight.
 * A row's element tells `data-index`, and `data-key`, under which its height is kept in `measured`.
 */
export function WindowList({ count, row, guess, age, measured, scroller, atEnd = false, handle, ...attributes }) {
  const list = useRef(null);
  const kept = useRef({ age: null, heights: null });
  const sight = useRef({ top: 0, height: 900 });
  const target = useRef(null);
  const [, redraw] = useState(0);

  if (kept.current.age !== age || kept.current.heights.length > count) kept.current = { age, heights: new Heights() };
  const { heights } = kept.current;
  for (let index = heights.length; index < count; index += 1) heights.push(guess(index));
  const { height } = sight.current;
  const top = atEnd ? Math.max(0, heights.total - height) : sight.current.top;
  const first = count ? heights.at(top - BEYOND) : 0;
  const last = count ? heights.at(top + height + BEYOND) : -1;

  const look = () => {
    const box = list.current.getBoundingClientRect();
    const element = scroller?.current;
    const outer = element ? element.getBoundingClientRect() : { top: 0 };
    sight.current = {
      top: outer.top + (element?.clientTop ?? 0) - box.top,
      height: element ? element.clientHeight : innerHeight,
    };
    return sight.current;
  };

  useEffect(() => {
    const outer = scroller ? scroller.current : window;
    const seen = () => {
      const now = look();
      const { heights } = kept.current;
      if (!heights.length) return;
      const [from, to] = list.current.dataset.drawn.split(" ").map(Number);
      const edge = BEYOND / 2;
      if (heights.at(now.top - edge) < from || heights.at(now.top + now.height + edge) > to) redraw((number) => number + 1);
    };
    outer.addEventListener("scroll", seen, { passive: true });
    const resized = new ResizeObserver(() => redraw((number) => number + 1));
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
      if (measured && element.dataset.key !== undefined) measured.set(element.dataset.key, seen);
      if (Math.abs(seen - known) < 0.5) continue;
      heights.set(index, seen);
      changed = true;
      if (index < anchor) moved += seen - known;
    }
    if (changed) list.current.style.height = `${heights.total}px`;
    const outer = scroller ? scroller.current : document.scrollingElement;
    if (atEnd) outer.scrollTop = outer.scrollHeight;
    else if (target.current !== null) {
      const index = Math.min(target.current, count - 1);
      const space = Math.max(0, before.height - heights.of(index)) / 3;
      outer.scrollTop += heights.before(index) - space - look().top;
      if (!changed) target.current = null;
    } else if (moved) outer.scrollTop += moved;
    if (changed) redraw((number) => number + 1);
    else look();
  });

  if (handle) {
    handle.current = {
      first: () => heights.at(Math.max(0, look().top)),
      show: (index) => {
        const { top, height } = look();
        const place = heights.before(index);
        if (place >= top && place + heights.of(index) <= top + height) return;
        target.current = index;
        sight.current = { ...sight.current, top: heights.before(index) - sight.current.height / 3 };
        redraw((number) => number + 1);
      },
    };
  }
  const drawn = [];
  for (let index = first; index <= last; index += 1) drawn.push(row(index));
  return html`<div ...${attributes} ref=${list} data-drawn="${first} ${last}" style=${{ height: `${heights.total}px`, position: "relative" }}>
    <div class="drawn" style=${{ transform: `translateY(${count ? heights.before(first) : 0}px)` }}>${drawn}</div>
  </div>`;
}
