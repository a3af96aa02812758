// The log of a run: of 100,000 lines those in sight, with colours, search, levels, and the end for who stays there.
//
// Props: `run` (run-state.js; `run.lines` only grows until the run is another object), `version` (changes with it).
// What is looked for, and at which line, stands in the address: `find`, `level`, `line`, `wrap`.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";
import { runLink, setQuery, useAddress } from "../address.js";
import { LogLines, above, countBelow, kind } from "../log-lines.js";
import { save } from "../save.js";
import { WindowList } from "../window-list.js";
import { clock, count } from "../words.js";
import { Coloured } from "./coloured.js";

const HEIGHT = 19; // pixels of a row of text, and of a heading, as in run-views.css
const HEADING = 27;
const LEVELS = { "": "all", info: "info and above", warn: "warnings and errors", error: "errors" };

export function LogView({ run, version }) {
  const [{ find = "", level = "", line = "", wrap = "" }] = useAddress();
  const lines = useMemo(() => new LogLines(level, find), [run, level, find]).extend(run.lines);
  const [following, setFollowing] = useState(!line);
  const [columns, setColumns] = useState(100);
  const box = useRef(null);
  const list = useRef(null);
  const wrapped = wrap !== "off";
  const age = useMemo(() => ({}), [lines, wrapped, columns]);
  const { shown, matches } = lines;
  const current = Number(line) > 0 ? Number(line) - 1 : null; // among all lines
  const row = current === null ? null : Math.min(countBelow(shown, current), shown.length - 1); // among those shown

  const here = current !== null && current < run.lines.length;
  useEffect(() => {
    if (!here) return;
    setFollowing(false);
    list.current?.show(row);
  }, [line, here, run.id]);

  const go = (step) => {
    if (!matches.length) return;
    const from = row ?? (list.current ? list.current.first() - (step > 0 ? 1 : 0) : 0);
    const next = step > 0 ? countBelow(matches, from + 1) : countBelow(matches, from) - 1;
    setQuery({ line: shown[matches[(next + matches.length) % matches.length]] + 1 });
  };

  const begin = Date.parse(run.fields.startedAt);
  const digits = String(run.lines.length).length;
  const measure = useColumns(box, setColumns);
  useLayoutEffect(measure, [digits, wrapped, shown.length > 0]);

  const guess = (index) => {
    const { text } = run.lines[shown[index]];
    const rows = wrapped ? Math.max(1, Math.ceil(text.length / columns)) : 1;
    return rows * HEIGHT + (heading(run.lines, shown, index) ? HEADING : 0);
  };

  return html`<${Tools} run=${run} find=${find} level=${level} line=${line} wrapped=${wrapped} go=${go}>
      ${find && html`<output class="time dim">${said(matches, row)}</output>`}
    </${Tools}>
    <div class="log-frame">
      <div
        class="log ${wrapped ? "wrapped" : ""}"
        role="log"
        aria-live="off"
        aria-label="Log"
        tabindex="0"
        ref=${box}
        style=${{ "--digits": digits }}
        onScroll=${useFollowing(following, setFollowing)}
        onWheel=${(event) => event.deltaY < 0 && box.current.scrollTop > 0 && setFollowing(false)}
      >
        <span class="ruler" aria-hidden="true">${"0".repeat(100)}</span>
        ${shown.length === 0 && html`<p class="empty">${run.lines.length ? "No lines of this level." : "Nothing is logged yet."}</p>`}
        <${WindowList}
          count=${shown.length}
          age=${age}
          guess=${guess}
          scroller=${box}
          atEnd=${following}
          handle=${list}
          row=${(index) => html`<${Line}
            key=${shown[index]}
            index=${index}
            number=${shown[index]}
            run=${run}
            begin=${begin}
            find=${find}
            heading=${heading(run.lines, shown, index)}
            current=${shown[index] === current}
          />`}
        />
      </div>
      ${!following && html`<button class="to-end" onClick=${() => setFollowing(true)}>↓ To the end</button>`}
    </div>`;
}

function said(matches, row) {
  if (!matches.length) return "not found";
  const at = row === null ? -1 : countBelow(matches, row);
  return matches[at] === row ? `${count(at + 1)} of ${count(matches.length)}` : `${count(matches.length)} found`;
}

/** What a line says of its origin where the one above it is of another: {testId, section}, or null. */
function heading(lines, shown, index) {
  const { testId, section } = lines[shown[index]];
  const above = index > 0 ? lines[shown[index - 1]] : {};
  return (testId || section) && (testId !== above.testId || section !== above.section) ? { testId, section } : null;
}

/** Following ends when one scrolls up, and begins again at the end. */
function useFollowing(following, setFollowing) {
  const last = useRef(0);
  return ({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
    const atEnd = scrollHeight - scrollTop - clientHeight < 2;
    if (atEnd !== following && (atEnd || scrollTop < last.current)) setFollowing(atEnd);
    last.current = scrollTop;
  };
}

/** A function that finds out how many characters a row holds; it is called, too, when the width changes. */
function useColumns(box, setColumns) {
  const measure = () => {
    const text = box.current?.querySelector(".text");
    const ruler = box.current?.querySelector(".ruler");
    if (text) setColumns(Math.max(8, Math.floor((100 * text.clientWidth) / ruler.getBoundingClientRect().width)));
  };
  useEffect(() => {
    const resized = new ResizeObserver(measure);
    resized.observe(box.current);
    return () => resized.disconnect();
  }, []);
  return measure;
}

function Line({ index, number, run, begin, find, heading, current }) {
  const { at, level, text } = run.lines[number];
  const link = runLink(run.id, { tab: "log", line: number + 1 });
  const mark = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    setQuery({ line: current ? "" : number + 1 });
  };
  return html`<div class="row" data-index=${index}>
    ${heading && html`<div class="heading">${heading.testId} <span>${heading.section}</span></div>`}
    <div class="line ${current ? "current" : ""}" data-kind=${kind(level)} aria-current=${current ? "true" : undefined}>
      <a class="number" href=${link} tabindex="-1" aria-label="Line ${number + 1}" onClick=${mark}>${number + 1}</a>
      <time title=${new Date(at).toLocaleString()}>${clock(at - begin)}</time>
      <span class="text"><${Coloured} text=${text} before=${above(run.lines, number)} find=${find} /></span>
    </div>
  </div>`;
}

function Tools({ run, find, level, line, wrapped, go, children }) {
  const search = useRef(null);
  useEffect(() => {
    const focus = (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
      event.preventDefault();
      search.current.focus();
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);
  const onKey = (event) => {
    if (event.key === "Enter") go(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") setQuery({ find: "" });
  };
  const text = () => run.lines.map((one) => `${one.text}\n`).join("");
  return html`<div class="filter tools">
    <label class="wide">Find
      <input ref=${search} type="search" value=${find} placeholder="/" onInput=${(event) => setQuery({ find: event.target.value })} onKeyDown=${onKey} />
      ${children}
      <button class="icon" aria-label="Previous match" title="Previous match (Shift+Enter)" disabled=${!find} onClick=${() => go(-1)}>↑</button>
      <button class="icon" aria-label="Next match" title="Next match (Enter)" disabled=${!find} onClick=${() => go(1)}>↓</button>
    </label>
    <label>Level
      <select value=${level} onChange=${(event) => setQuery({ level: event.target.value })}>
        ${Object.entries(LEVELS).map(([name, words]) => html`<option key=${name} value=${name}>${words}</option>`)}
      </select>
    </label>
    <label>Line
      <input class="short" type="number" min="1" max=${run.lines.length} value=${line} onChange=${(event) => setQuery({ line: event.target.value })} />
    </label>
    <label><input type="checkbox" checked=${wrapped} onChange=${(event) => setQuery({ wrap: event.target.checked ? "" : "off" })} /> Wrap</label>
    <button onClick=${() => save(`${run.id}.log`, text())}>Download</button>
  </div>`;
}
