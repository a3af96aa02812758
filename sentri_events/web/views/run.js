// One run: its head, and below it what the address names.

import { html, useEffect, useState } from "../vendor/htm-preact.js";
import { useAddress } from "../address.js";
import { RunFollower } from "../follow-run.js";
import { setTitle } from "../favicon.js";
import { useFollower, useRedraw } from "../hooks.js";
import { CompareView } from "./compare.js";
import { Live } from "./live.js";
import { LogView } from "./log.js";
import { RawView } from "./raw.js";
import { ReplayBar } from "./replay.js";
import { ResultsView } from "./results.js";
import { RunHead } from "./run-head.js";
import { SignIn } from "./sign-in.js";
import { TimelineView } from "./timeline.js";
import { Top } from "./top.js";

const TABS = {
  results: ["Results", ResultsView],
  log: ["Log", LogView],
  timeline: ["Timeline", TimelineView],
  compare: ["Compare", CompareView],
  events: ["Events", RawView],
};

export function Run({ id }) {
  const follower = useFollower((redraw) => new RunFollower(id, redraw), id);
  const [query, setQuery] = useAddress();
  const [replayed, setReplayed] = useState(null);
  const redraw = useRedraw();
  const { connection, run } = follower;
  const behind = connection.name === "catching up" && run ? follower.head - run.seq : 0;
  const shown = replayed ?? run;
  const tab = query.tab in TABS ? query.tab : "results";
  const select = (test) => setQuery({ test });
  const show = (moment) => {
    setReplayed(moment);
    redraw(); // it may be the same object, gone on
  };
  useEffect(() => setTitle(id), [id]);
  const View = TABS[tab][1];
  return html`<${Top} connection=${connection} behind=${behind}><h1>${run?.fields.name || id}</h1></${Top}>
    <main class="run-page">
      ${connection.name === "signed out" && html`<${SignIn} sentence=${connection.sentence} />`}
      ${connection.name === "gone" && html`<p class="empty">There is no run ${id}, or it is not yours to see.</p>`}
      ${shown &&
      html`
        <${RunHead} run=${shown} live=${!replayed} lost=${replayed ? 0 : follower.lost} />
        ${follower.trimmed && html`<p class="dim">The oldest events of this run were pruned: its log and its events begin later than it did.</p>`}
        <${Live} run=${shown} />
        <${Tabs} tab=${tab} run=${shown} onTab=${(name) => setQuery({ tab: name === "results" ? "" : name })} />
        <section class="tab-panel" role="tabpanel" id="panel" aria-labelledby="tab-${tab}">
          <${View}
            run=${shown}
            version=${shown.version}
            selected=${query.test ?? null}
            onSelect=${select}
            live=${!replayed && !run.ended}
          />
        </section>
        ${run.ended &&
        connection.name !== "catching up" &&
        html`<${ReplayBar} full=${run} document=${follower.document} replayed=${replayed} onReplay=${show} />`}
      `}
    </main>`;
}

function Tabs({ tab, run, onTab }) {
  const numbers = { results: run.results.size, log: run.lines.length, events: run.events.length };
  const names = Object.keys(TABS);
  const onKey = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = names[(names.indexOf(tab) + step + names.length) % names.length];
    onTab(next);
    document.getElementById(`tab-${next}`).focus();
  };
  return html`<div class="tabs" role="tablist" aria-label="What is shown of the run" onKeyDown=${onKey}>
    ${names.map(
      (name) => html`<button
        key=${name}
        id="tab-${name}"
        role="tab"
        aria-selected=${name === tab}
        aria-controls="panel"
        tabindex=${name === tab ? 0 : -1}
        onClick=${() => onTab(name)}
      >
        ${TABS[name][0]} ${numbers[name] > 0 && html`<span class="dim">${numbers[name].toLocaleString()}</span>`}
      </button>`,
    )}
  </div>`;
}
