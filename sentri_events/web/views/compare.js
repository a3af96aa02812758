// This run beside another one of its project: what fails that did not, what passes that did not, what is slower.

import { html, useEffect, useMemo, useState } from "../vendor/htm-preact.js";
import { follow, runLink, setQuery, useAddress } from "../address.js";
import { ask, runPath } from "../api.js";
import { compare } from "../compare.js";
import { token } from "../session.js";
import { count, duration } from "../words.js";
import { Status, sign } from "./status.js";

const MOST = 200; // rows of a list
const LISTS = [
  ["newlyFailing", "Newly failing"],
  ["newlyPassing", "Newly passing"],
  ["slower", "Slower than before"],
  ["stillFailing", "Still failing"],
  ["added", "Only in this run"],
  ["removed", "Only in the other run"],
];

export function CompareView({ run, version }) {
  const [query] = useAddress();
  const others = useAnswer(`projects/${encodeURIComponent(run.fields.projectId)}/runs`, { limit: 100 });
  const earlier = others.value?.data.filter(({ id }) => id !== run.id) ?? [];
  const chosen = query.with ?? usual(earlier, run);
  const other = useAnswer(chosen ? runPath(chosen) : null, { logs: 0 });
  const before = useMemo(() => new Map((other.value?.results ?? []).map((result) => [result.testId, result])), [other.value]);
  const lists = useMemo(() => compare(run.results, before), [run, version, before]);
  const known = earlier.some(({ id }) => id === chosen) || !chosen;
  return html`<div class="filter">
      <label>Compare with
        <select value=${chosen ?? ""} onChange=${(event) => setQuery({ with: event.target.value })}>
          ${!known && html`<option value=${chosen}>${chosen}</option>`}
          ${earlier.map((one) => html`<option key=${one.id} value=${one.id}>${sign(one.status)} ${one.id} ${one.name ?? ""}</option>`)}
        </select>
      </label>
      ${chosen && html`<a class="beside" href=${runLink(chosen)} onClick=${follow}>Open ${chosen}</a>`}
    </div>
    ${others.error ?? other.error ? html`<p class="empty" role="alert">${others.error ?? other.error}</p>` : null}
    ${others.value && !chosen && html`<p class="empty">This is the first run of its project.</p>`}
    ${other.value && LISTS.map(([name, title]) => html`<${List} key=${name} name=${name} title=${title} pairs=${lists[name]} />`)}`;
}

/** The newest run before this one that has ended. */
function usual(others, run) {
  return others.find((one) => one.startedAt < run.fields.startedAt && one.status !== "running")?.id ?? others[0]?.id;
}

/** What the server answers: {value}, or {error}; nothing until it does. */
function useAnswer(path, parameters) {
  const [answer, setAnswer] = useState({});
  useEffect(() => {
    setAnswer({});
    if (!path) return undefined;
    const life = new AbortController();
    ask(path, { parameters, token: token(), signal: life.signal }).then(
      (value) => setAnswer({ value }),
      (error) => error.name !== "AbortError" && setAnswer({ error: error.message }),
    );
    return () => life.abort();
  }, [path]);
  return answer;
}

function List({ name, title, pairs }) {
  const [most, setMost] = useState(MOST);
  const important = name === "newlyFailing" || name === "newlyPassing" || name === "slower";
  if (pairs.length === 0 && !important) return null;
  return html`<details class="card compared" open=${important && pairs.length > 0}>
    <summary><h2>${title} <span class=${pairs.length ? "" : "dim"}>${count(pairs.length)}</span></h2></summary>
    <ul>
      ${pairs.slice(0, most).map((pair) => html`<${Pair} key=${pair.test} pair=${pair} />`)}
    </ul>
    ${pairs.length > most && html`<button onClick=${() => setMost(Infinity)}>All ${count(pairs.length)}</button>`}
  </details>`;
}

function Pair({ pair: { test, now, before } }) {
  const result = now ?? before;
  const words = html`<span class="name">${result.testName ?? test}</span>`;
  const link = `${location.pathname}?tab=results&test=${encodeURIComponent(test)}`;
  return html`<li>
    ${now ? html`<a href=${link} onClick=${follow}>${words}</a>` : words}
    <span class="was">${before && html`<${Status} status=${before.status} /> <span class="time dim">${duration(before.durationMs)}</span>`}</span>
    <span aria-label="then">→</span>
    <span class="is">${now && html`<${Status} status=${now.status} /> <span class="time">${duration(now.durationMs)}</span>`}</span>
  </li>`;
}
