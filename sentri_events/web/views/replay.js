// Plays a run again: hands the run as it was at a moment to `onReplay`, and null for as it is.
//
// Props: `full` (the whole run), `document` (as it was read), `replayed` (what `onReplay` was last given), `onReplay`.
// The moment stands in the address, in seconds: `at`.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { setQuery, useAddress } from "../address.js";
import { useLater } from "../hooks.js";
import { Player } from "../player.js";
import { clock } from "../words.js";

const SPEEDS = [1, 2, 5, 10, 30, 100, 300];
const ENOUGH = 60_000; // milliseconds: the first speed that is offered takes no longer
const PARTS = 150; // of the picture above the scrubber

export function ReplayBar({ full, document, replayed, onReplay }) {
  const [{ at }] = useAddress();
  const player = useMemo(() => new Player(document, full.events), [document, full]);
  const profile = useMemo(() => player.profile(PARTS), [player]);
  const { length } = player;
  const [playing, setPlaying] = useState(false);
  const [speed, setSpeed] = useState(SPEEDS.find((speed) => length / speed <= ENOUGH) ?? SPEEDS.at(-1));
  const note = useLater((moment) => setQuery({ at: moment }));
  const position = replayed ? player.at : length;

  const seek = (milliseconds) => {
    onReplay(player.seek(milliseconds));
    note((player.at / 1000).toFixed(1));
  };
  const end = () => {
    setPlaying(false);
    note("");
    onReplay(null);
  };
  const play = () => {
    if (!playing && position >= length) seek(0);
    setPlaying(!playing);
  };
  useEffect(() => {
    if (at !== undefined && at !== "" && !Number.isNaN(Number(at))) onReplay(player.seek(1000 * Number(at)));
  }, [player]);
  usePlaying(playing, (passed) => {
    seek(player.at + passed * speed);
    if (player.at >= length) setPlaying(false);
  });

  const step = length > 120_000 ? 1000 : 100;
  return html`<section class="replay ${replayed ? "replayed" : ""}" aria-label="Replay">
    <button class="icon play" onClick=${play} aria-label=${playing ? "Pause" : "Play"} title=${playing ? "Pause" : "Play it again"}>${playing ? "❚❚" : "▶"}</button>
    <div class="scrubber">
      <${Profile} profile=${profile} share=${length ? position / length : 1} />
      <input
        type="range"
        aria-label="Moment"
        min="0"
        max=${Math.ceil(length / step) * step}
        step=${step}
        value=${position}
        aria-valuetext="${clock(position)} of ${clock(length)}"
        onInput=${(event) => seek(Number(event.target.value))}
      />
    </div>
    <span class="time"><b>${clock(position)}</b> <span class="dim">/ ${clock(length)}</span></span>
    <label><span class="unseen">Speed</span>
      <select value=${speed} onChange=${(event) => setSpeed(Number(event.target.value))}>
        ${SPEEDS.map((value) => html`<option key=${value} value=${value}>${value}×</option>`)}
      </select>
    </label>
    <button disabled=${!replayed} onClick=${end}>End replay</button>
  </section>`;
}

/** When there was much to see, and when tests failed. */
function Profile({ profile, share }) {
  const most = Math.max(...profile.map(({ events }) => events), 1);
  const part = 100 / profile.length;
  return html`<svg viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">
    ${profile.map(({ events, failed }, index) => {
      const height = events && 2 + 22 * Math.sqrt(events / most);
      const kind = failed ? "bad" : index * part <= share * 100 ? "running" : "dim";
      return html`<rect key=${index} class=${kind} x=${index * part} y=${24 - height} width=${part * 0.8} height=${height} />`;
    })}
  </svg>`;
}

/** Calls `onFrame(milliseconds since the last one)` for each frame while `playing`. */
function usePlaying(playing, onFrame) {
  const latest = useRef(onFrame);
  latest.current = onFrame;
  useEffect(() => {
    if (!playing) return undefined;
    let last = performance.now();
    const draw = (now) => {
      latest.current(Math.max(0, now - last));
      last = now;
      frame = requestAnimationFrame(draw);
    };
    let frame = requestAnimationFrame(draw);
    return () => cancelAnimationFrame(frame);
  }, [playing]);
}
