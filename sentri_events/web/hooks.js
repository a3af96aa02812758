// What several views need: following something that changes often, and a clock.

import { useEffect, useRef, useState } from "./vendor/htm-preact.js";

const QUIET = 300; // milliseconds without another change before the address is changed, too: browsers limit that
const PAUSE = 80; // milliseconds between two drawings at least; hidden tabs draw once a second

/** A function that draws the component again, soon, however often it is called. */
export function useRedraw() {
  const [, redraw] = useState(0);
  const planned = useRef(false);
  const drawn = useRef(0);
  const alive = useRef(true);
  useEffect(() => () => (alive.current = false), []);
  return useRef(() => {
    if (planned.current) return;
    planned.current = true;
    const draw = () => {
      planned.current = false;
      drawn.current = performance.now();
      if (alive.current) redraw((count) => count + 1);
    };
    if (document.hidden) setTimeout(draw, 1000);
    else setTimeout(() => requestAnimationFrame(draw), Math.max(0, drawn.current + PAUSE - performance.now()));
  }).current;
}

/** What `make(redraw)` returns, kept until `key` changes; its `close()` is called then. */
export function useFollower(make, key) {
  const redraw = useRedraw();
  const kept = useRef(null);
  if (kept.current?.key !== key) {
    kept.current?.follower.close();
    kept.current = { key, follower: make(redraw) };
  }
  useEffect(() => () => kept.current.follower.close(), []);
  return kept.current.follower;
}

/** The time in milliseconds, once a second while `running`. */
export function useClock(running) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!running) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [running]);
  return running ? Math.max(now, Date.now()) : now;
}

/** A function that calls `act` with what it was last given, once it is quiet. */
export function useLater(act) {
  const timer = useRef(null);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (value) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => act(value), QUIET);
  };
}
