// The results of a run as a table: failed first, each opening to what is known of it. Of 5,000 those in sight are drawn.
//
// Props: `run` (run-state.js), `version` (changes with it), `selected` (a testId or null), `onSelect(testId or null)`.
// How it is ordered and what is left out stands in the address: `sort`, `show`, `filter`.

import { html, useEffect, useLayoutEffect, useMemo, useRef } from "../vendor/htm-preact.js";
import { setQuery, useAddress } from "../address.js";
import { plain } from "../ansi.js";
import { allRows, kinds, ordered } from "../result-rows.js";
import { WindowList } from "../window-list.js";
import { clock, count, duration } from "../words.js";
import { Result } from "./result.js";
import { Status } from "./status.js";

const HEIGHT = 37; // pixels of a row that is closed, as in run-views.css
const COLUMNS = [
  ["", "Status"],
  ["name", "Test"],
  ["worker", "Worker"],
  ["started", "Started"],
  ["-duration", "Duration"],
];

export function ResultsView({ run, version, selected, onSelect }) {
  const [{ sort = "", show = "", filter = "" }] = useAddress();
  const all = useMemo(() => allRows(run), [run, version]);
  const rows = useMemo(() => ordered(all, { kind: show, words: filter, sort }), [all, show, filter, sort]);
  const longest = useMemo(() => all.reduce((most, { result }) => Math.max(most, result?.durationMs ?? 0), 1), [all]);
  const workers = useMemo(() => all.some(({ result }) => result?.worker), [all]);
  const measured = useRef(new Map()).current;
  const list = useRef(null);
  const chosen = selected === null ? -1 : rows.findIndex(({ id }) => id === selected);
  const stay = useStay();
  const clicked = useRef(null);
  const moved = useMoved(selected);
  useEffect(() => {
    // As long as events are read that came before, rows change places.
    if (chosen !== -1 && selected !== clicked.current && !moved.current) list.current.show(chosen);
  }, [selected, chosen]);

  const onKey = (event, index) => {
    const to = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (event.key === "Escape" && rows[index].id === selected) onSelect(null);
    if (to === undefined || !rows[to]) return;
    event.preventDefault();
    list.current.focus(to);
  };
  const key = (row) => (row.id === selected ? `open ${row.id}` : row.id);
  const begin = Date.parse(run.fields.startedAt);
  return html`<${Tools} all=${all} show=${show} filter=${filter} ended=${run.ended} />
    <div class="results ${workers ? "workers" : ""}" role="table" aria-label="Results" aria-rowcount=${rows.length + 1}>
      <${Head} sort=${sort} workers=${workers} />
      ${rows.length === 0 && html`<p class="empty">${all.length ? "No result fits." : "No results yet."}</p>`}
      <${WindowList}
        role="rowgroup"
        count=${rows.length}
        age=${rows}
        measured=${measured}
        guess=${(index) => measured.get(key(rows[index])) ?? HEIGHT}
        handle=${list}
        row=${(index) => html`<${Row}
          key=${rows[index].id}
          name=${key(rows[index])}
          index=${index}
          row=${rows[index]}
          run=${run}
          begin=${begin}
          longest=${longest}
          workers=${workers}
          open=${rows[index].id === selected}
          onOpen=${(event) => {
            stay(event.currentTarget);
            clicked.current = rows[index].id;
            onSelect(rows[index].id === selected ? null : rows[index].id);
          }}
          onKey=${onKey}
        />`}
      />
    </div>`;
}

/** A ref: whether the reader has done anything that may have moved the page since `selected` changed. */
function useMoved(selected) {
  const moved = useRef(false);
  useEffect(() => {
    moved.current = false;
    const note = () => (moved.current = true);
    const kinds = ["wheel", "touchmove", "pointerdown", "keydown"];
    for (const kind of kinds) addEventListener(kind, note, { passive: true });
    return () => kinds.forEach((kind) => removeEventListener(kind, note));
  }, [selected]);
  return moved;
}

/** A function that keeps an element where it is on the screen when what is above it changes with the next drawing. */
function useStay() {
  const kept = useRef(null);
  useLayoutEffect(() => {
    if (!kept.current) return;
    const { element, top } = kept.current;
    kept.current = null;
    if (element.isConnected) scrollBy(0, element.getBoundingClientRect().top - top);
  });
  return (element) => (kept.current = { element, top: element.getBoundingClientRect().top });
}

function Tools({ all, show, filter, ended }) {
  const choices = [["", all.length], ...kinds(all)];
  const words = (kind) => (kind === "pending" ? (ended ? "not run" : "to go") : kind || "all");
  return html`<div class="filter tools">
    <div class="choices" role="group" aria-label="Show">
      ${choices.map(
        ([kind, number]) => html`<button key=${kind} aria-pressed=${kind === show} onClick=${() => setQuery({ show: kind })}>
          ${words(kind)} <span class=${kind === "failed" ? "bad" : "dim"}>${count(number)}</span>
        </button>`,
      )}
    </div>
    <label class="wide">Filter
      <input type="search" value=${filter} onInput=${(event) => setQuery({ filter: event.target.value })} />
    </label>
  </div>`;
}

function Head({ sort, workers }) {
  return html`<div class="titles" role="row">
    ${COLUMNS.filter(([column]) => column !== "worker" || workers).map(([column, title]) => {
      const name = column.replace("-", "");
      const used = name === sort.replace("-", "");
      const up = used && !sort.startsWith("-");
      const next = !used ? column : sort === column && column ? turned(column) : "";
      const direction = used && name ? (up ? "ascending" : "descending") : undefined;
      return html`<span key=${name} class=${name} role="columnheader" aria-sort=${direction}>
        <button onClick=${() => setQuery({ sort: next })}>${title}${direction && html` <span aria-hidden="true">${up ? "↑" : "↓"}</span>`}</button>
      </span>`;
    })}
  </div>`;
}

/** What is worth knowing of a closed row: why it failed or was skipped, else where it is from. */
function gist({ id, name, result }) {
  if (result?.error) {
    const lines = plain(String(result.error)).split("\n").map((line) => line.trim());
    return (lines.find((line) => line.startsWith("E ")) ?? lines.find(Boolean) ?? "").replace(/^E\s+/, "").slice(0, 300);
  }
  if (result?.reason) return String(result.reason).slice(0, 300);
  return id === name ? "" : id.endsWith(name) ? id.slice(0, -name.length).replace(/::$/, "") : id;
}

const turned = (column) => (column.startsWith("-") ? column.slice(1) : `-${column}`);

function Row({ index, name, row, run, begin, longest, workers, open, onOpen, onKey }) {
  const { result } = row;
  const share = (100 * (result?.durationMs ?? 0)) / longest;
  return html`<div class="row ${open ? "open" : ""}" role="row" aria-rowindex=${index + 2} data-index=${index} data-key=${name}>
    <span role="cell"><${Status} status=${result?.status ?? (run.ended ? "not run" : "to go")} /></span>
    <span class="test" role="cell">
      ${result
        ? html`<button title=${row.id} aria-expanded=${open} onClick=${onOpen} onKeyDown=${(event) => onKey(event, index)}>${row.name}</button>`
        : html`<span class="dim" title=${row.id}>${row.name}</span>`}
      <span class="gist dim">${open ? "" : gist(row)}</span>
    </span>
    ${workers && html`<span class="worker dim" role="cell">${result?.worker}</span>`}
    <span class="started time dim" role="cell">${result?.startedAt ? clock(result.startedAt - begin) : ""}</span>
    <span class="duration time" role="cell">
      ${duration(result?.durationMs)}<i style=${{ width: `${share}%` }}></i>
    </span>
    ${open && result && html`<div class="opened" role="cell"><${Result} run=${run} result=${result} elsewhere="timeline" /></div>`}
  </div>`;
}
