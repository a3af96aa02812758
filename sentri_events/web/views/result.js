// One result whole: its error, its pictures, its own log, and whatever else its producer said of it.

import { html, useMemo, useState } from "../vendor/htm-preact.js";
import { follow, runLink } from "../address.js";
import { above, kind } from "../log-lines.js";
import { count } from "../words.js";
import { Artifacts, artifactsOf } from "./artifacts.js";
import { Coloured } from "./coloured.js";
import { Traceback } from "./traceback.js";

const SHOWN = new Set("testId testName status durationMs startedAt worker error reason seq at".split(" "));
const MOST_LINES = 200;
const LONG = 160; // characters of a value that is shown when asked for
const PICTURE = { iVBOR: "png", "/9j/": "jpeg", R0lGO: "gif", UklGR: "webp" }; // how they begin in base64

/** `elsewhere`: the tab that a link leads to, where the same test is seen in another way. */
export function Result({ run, result, elsewhere }) {
  const files = artifactsOf(result);
  const artifacts = [...files, ...ofSteps(result), ...ofEvents(run, result.testId)];
  const picture = files.some(([name]) => name === "screenshot") ? null : embedded(result.screenshot);
  const names = new Set(files.map(([name]) => `${name}Path`));
  const rest = Object.entries(result).filter(
    ([name, value]) => !SHOWN.has(name) && !names.has(name) && !isEmpty(value) && !(name === "screenshot" && embedded(value)),
  );
  return html`<div class="result">
    ${result.error && html`<${Traceback} text=${result.error} />`}
    ${result.reason && html`<p><span class="dim">Reason</span> ${result.reason}</p>`}
    <${Artifacts} artifacts=${artifacts} />
    ${picture && html`<img src=${picture} alt="Screenshot" />`}
    <${OwnLog} run=${run} testId=${result.testId} />
    ${rest.length > 0 && html`<dl>${rest.map(([name, value]) => html`<${Field} key=${name} name=${name} value=${value} />`)}</dl>`}
    <p class="foot">
      <code class="dim">${result.testId}</code>
      <a href=${runLink(run.id, { tab: elsewhere, test: result.testId })} onClick=${follow}>In the ${elsewhere}</a>
    </p>
  </div>`;
}

const isEmpty = (value) => value === null || value === "" || (Array.isArray(value) && value.length === 0);

/** The URL of a picture that is inside an event, or null. */
function embedded(value) {
  const begin = typeof value === "string" && Object.keys(PICTURE).find((start) => value.startsWith(start));
  return begin ? `data:image/${PICTURE[begin]};base64,${value}` : null;
}

function ofSteps({ stepCaptures }) {
  if (!Array.isArray(stepCaptures)) return [];
  return stepCaptures.flatMap((step, index) =>
    artifactsOf(step ?? {}).map(([name, url]) => [`step ${step.step ?? index + 1} ${name}`, url]),
  );
}

/** Those of events that are about this test: `screenshot` has them, and others may. */
function ofEvents(run, testId) {
  return useMemo(
    () => run.events.flatMap(({ event }) => (event.testId === testId && event.type !== "log" ? artifactsOf(event) : [])),
    [run, run.events.length, testId],
  );
}

function OwnLog({ run, testId }) {
  const own = useMemo(
    () => run.lines.flatMap((line, index) => (line.testId === testId ? [index] : [])),
    [run, run.lines.length, testId],
  );
  if (own.length === 0) return null;
  const first = runLink(run.id, { tab: "log", line: own[0] + 1 });
  return html`<section aria-label="Its log">
    <p class="dim">
      ${own.length > MOST_LINES ? `The last ${MOST_LINES} of ${count(own.length)} lines` : "Its log"}
      ${" "}<a href=${first} onClick=${follow}>In the log</a>
    </p>
    <div class="own-log" tabindex="0" role="region" aria-label="Lines">
      ${own.slice(-MOST_LINES).map(
        (index) => html`<div key=${index} data-kind=${kind(run.lines[index].level)}>
          <${Coloured} text=${run.lines[index].text} before=${above(run.lines, index)} />
        </div>`,
      )}
    </div>
  </section>`;
}

/** A field that this page knows nothing of, as it is. */
function Field({ name, value }) {
  const [open, setOpen] = useState(false);
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const short = text.length <= LONG;
  return html`<div>
    <dt>${name}</dt>
    <dd>
      ${short
        ? html`<code>${text}</code>`
        : html`<details onToggle=${({ target }) => setOpen(target.open)}>
            <summary>${count(text.length)} characters</summary>
            ${open && html`<pre>${text}</pre>`}
          </details>`}
    </dd>
  </div>`;
}
