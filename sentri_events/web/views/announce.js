// Says to screen readers what has changed: failures and the end, a few seconds' worth at a time.

import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { countedAs } from "../run-state.js";

const PAUSE = 4_000; // milliseconds between two sentences at least

export function Announce({ run }) {
  const [said, setSaid] = useState("");
  const { failed } = run.counts;
  const { status } = run.fields;
  const known = useRef({ failed, status, at: -PAUSE });
  useEffect(() => {
    const timer = setTimeout(() => {
      const sentence = news(run, known.current);
      if (sentence) setSaid(sentence);
      known.current = { failed, status, at: sentence ? performance.now() : known.current.at };
    }, Math.max(0, known.current.at + PAUSE - performance.now()));
    return () => clearTimeout(timer);
  }, [run, failed, status]);
  return html`<div class="unseen" aria-live="polite">${said}</div>`;
}

/** What there is to say since a status and a number of failures were known; "" if there is nothing. */
function news({ counts, fields, results }, known) {
  if (fields.status !== known.status && fields.status !== "running") {
    return `The run has ended: ${fields.status}. ${counts.passed} passed, ${counts.failed} failed.`;
  }
  if (counts.failed <= known.failed) return "";
  const last = [...results.values()].findLast(({ status }) => countedAs(status) === "failed");
  return `${counts.failed} failed, last ${last?.testName ?? last?.testId ?? ""}.`;
}
