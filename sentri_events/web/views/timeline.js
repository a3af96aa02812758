// The tests of a run over time, by worker: what was slow, and what ran beside what.
//
// Props: `run` (run-state.js), `version` (changes with it), `selected` (a testId or null), `onSelect(testId or null)`, `live`.

import { html, useMemo } from "../vendor/htm-preact.js";
import { useClock } from "../hooks.js";
import { layOut } from "../timeline-layout.js";
import { count, duration } from "../words.js";
import { Result } from "./result.js";
import { Status, tone } from "./status.js";
import { Chart } from "./timeline-chart.js";
import { scaled, useZoom } from "./timeline-zoom.js";

const SLOWEST = 10;
const KINDS = { good: "passed", bad: "failed", warn: "warning", dim: "skipped" };

export function TimelineView({ run, version, selected, onSelect, live }) {
  const layout = useMemo(() => layOut(run.results.values()), [run, version]);
  const slowest = useMemo(() => slow(layout), [layout]);
  const now = useClock(live);
  const moment = live ? now - layout.begin : run.moment ? run.moment - layout.begin : null;
  const whole = [0, Math.max(1, layout.end - layout.begin, moment ?? 0)];
  const [view, setView] = useZoom(whole);
  const result = selected !== null && run.results.get(selected);
  if (layout.count === 0) return html`<p class="empty card">No test has ended yet, or none tells how long it took.</p>`;
  const select = (bar) => onSelect(bar && bar.id !== selected ? bar.id : null);
  return html`<div class="filter tools timeline-tools">
      <p id="timeline-summary">${summary(layout)}</p>
      <${Legend} />
      <div class="choices" role="group" aria-label="Zoom">
        <button class="icon" aria-label="Zoom in" title="Zoom in (+, or Ctrl and the wheel)" onClick=${() => setView(scaled(view, 0.5))}>+</button>
        <button class="icon" aria-label="Zoom out" title="Zoom out (-)" onClick=${() => setView(scaled(view, 2))}>−</button>
        <button disabled=${view[0] === whole[0] && view[1] === whole[1]} title="All of it (0)" onClick=${() => setView(null)}>All</button>
      </div>
    </div>
    <${Chart}
      layout=${layout}
      slowest=${slowest}
      view=${view}
      setView=${setView}
      now=${moment}
      chosen=${selected}
      onSelect=${select}
    />
    ${result &&
    html`<section class="card chosen" aria-label="The chosen test">
      <h2><${Status} status=${result.status} /> ${result.testName ?? result.testId}
        <span class="dim">${duration(result.durationMs)}</span>
        <button class="quiet icon" aria-label="Close" onClick=${() => onSelect(null)}>✕</button></h2>
      <${Result} run=${run} result=${result} elsewhere="results" />
    </section>`}
    <${Slowest} bars=${slowest} selected=${selected} onSelect=${select} />`;
}

function summary({ count: tests, lanes, begin, end, side }) {
  const workers = new Set(lanes.map(({ worker }) => worker)).size;
  const many = (number, name) => `${count(number)} ${name}${number === 1 ? "" : "s"}`;
  const where = workers > 1 ? ` on ${many(workers, "worker")}` : "";
  return `${many(tests, "test")}${where} in ${duration(end - begin)}${side > 1 ? `, up to ${count(side)} side by side` : ""}`;
}

function slow({ lanes }) {
  const bars = lanes.flatMap((lane) => lane.bars).filter(({ start, end }) => end > start);
  return bars.sort((one, other) => other.end - other.start - (one.end - one.start)).slice(0, SLOWEST);
}

function Legend() {
  return html`<ul class="legend" aria-label="Colours">
    ${Object.entries(KINDS).map(([kind, name]) => html`<li key=${kind} class="dim"><i class="swatch ${kind}"></i>${name}</li>`)}
    <li class="dim"><i class="swatch slow"></i>slowest</li>
  </ul>`;
}

function Slowest({ bars, selected, onSelect }) {
  if (bars.length < 2) return null;
  const most = bars[0].end - bars[0].start;
  return html`<section class="slowest card" aria-labelledby="slowest">
    <h2 id="slowest">Slowest</h2>
    <ol>
      ${bars.map(
        (bar) => html`<li key=${bar.id}>
          <button aria-expanded=${bar.id === selected} onClick=${() => onSelect(bar)}>
            <span class="time">${duration(bar.end - bar.start)}</span>
            <span class="share"><i class=${tone(bar.result.status)} style=${{ width: `${(100 * (bar.end - bar.start)) / most}%` }}></i></span>
            <span class="name">${bar.result.testName ?? bar.id}</span>
            <${Status} status=${bar.result.status} />
          </button>
        </li>`,
      )}
    </ol>
  </section>`;
}
