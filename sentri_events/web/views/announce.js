// Says to screen readers what has changed: failures and the end, a few seconds' worth at a time.

import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";

const PAUSE = 4_000; // milliseconds between two sentences

export function Announce({ run }) {
  const [said, setSaid] = useState("");
  const latest = useRef(run);
  const before = useRef({ failed: run.counts.failed, status: run.fields.status });
  latest.current = run;
  useEffect(() => {
    const timer = setInterval(() => {
      const { counts, fields } = latest.current;
      const known = before.current;
      if (fields.status !== known.status) {
        setSaid(`The run has ended: ${fields.status}. ${counts.passed} passed, ${counts.failed} failed.`);
      } else if (counts.failed > known.failed) {
        const name = [...latest.current.results.values()].findLast(({ status }) => status === "failed" || status === "error");
        setSaid(`${counts.failed} failed, last ${name?.testName ?? name?.testId ?? ""}.`);
      }
      before.current = { failed: counts.failed, status: fields.status };
    }, PAUSE);
    return () => clearInterval(timer);
  }, []);
  return html`<div class="unseen" aria-live="polite">${said}</div>`;
}
