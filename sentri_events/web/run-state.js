// A run as its events make it: `newRun(document)`, then `apply(run, entries)` for each batch of {seq, at, event}. Pure.
//
// It is changed in place, because it may hold 100,000 lines; `version` grows with each change. Arrays only grow at their
// end until `reset`. The page shows nothing else than this, so a run at second N is these functions on fewer events.

const MOST_TOKENS = 50_000; // characters of LLM text that are kept
const COUNTED_AS = {
  passed: "passed",
  xpassed: "passed",
  warning: "passed",
  failed: "failed",
  error: "failed",
  skipped: "skipped",
  xfailed: "skipped",
};

/** passed, failed or skipped, as the server counts a result's status; null for one that it does not count. */
export const countedAs = (status) => COUNTED_AS[status] ?? null;

/** The state of a run of which no event is known yet; `document` as from GET /runs/{id}. */
export function newRun(document) {
  const run = {
    id: document.id,
    version: 0,
    seq: 0, // of the last event applied
    fields: { ...document }, // of the run document, without results and logs
    results: new Map(), // testId -> the result, with `seq` and `at` (ms) of its event, 0 if not known
    lines: [], // {seq, at (ms), level, text, testId?, section?}: an entry a line of text
    events: [], // every durable event: {seq, at (ISO), event}
    unknown: 0, // events of types that this page knows nothing of
    explicit: {}, // counts that the producer set
    counts: { passed: 0, failed: 0, skipped: 0, total: 0 },
    frame: null, // the live picture: {data, at (ms)}
    tokens: "", // LLM text
    volatile: new Map(), // the latest event of each volatile type but frame
    ended: document.status !== "running",
  };
  for (const result of document.results ?? []) run.results.set(result.testId, { ...result, seq: 0, at: 0 });
  delete run.fields.results;
  delete run.fields.logs;
  recount(run);
  for (const name of ["passed", "failed", "skipped"]) {
    if (document[name] != null && document[name] !== run.counts[name]) run.explicit[name] = document[name];
  }
  if (document.total) run.explicit.total = document.total;
  recount(run);
  return run;
}

/** The run before its first event: what was there when it was made, as far as a document that is older tells. */
export function beginning(document, events) {
  const early = { ...document, results: [], status: "running", finishedAt: null, duration: null, error: null };
  for (const name of ["passed", "failed", "skipped"]) early[name] = 0;
  for (const { event } of events) {
    if (event.type === "update") for (const name of Object.keys(event.run)) delete early[name];
  }
  return newRun({ ...early, id: document.id, startedAt: document.startedAt });
}

/** Apply entries in their order. Durable ones must follow the last one: `seq` + 1; volatile ones have seq 0. */
export function apply(run, entries) {
  for (const entry of entries) applyOne(run, entry);
  recount(run);
  run.version += 1;
}

function applyOne(run, entry) {
  const { seq, event } = entry;
  const at = Date.parse(entry.at);
  if (seq === 0) {
    if (event.type === "frame") run.frame = { data: event.data, at };
    else if (event.type === "snapshot") Object.assign(run.fields, plain(event.run ?? {}));
    else if (event.type === "llm_token") addToken(run, event);
    else run.volatile.set(event.type, event);
    return;
  }
  run.seq = seq;
  run.events.push(entry);
  const effect = EFFECTS[event.type];
  if (effect) effect(run, event, at, seq);
  else run.unknown += 1;
}

const EFFECTS = {
  log(run, event, at, seq) {
    const text = typeof event.message === "string" ? event.message : JSON.stringify(event.message ?? "");
    for (const line of text.split("\n")) {
      run.lines.push({ seq, at, level: event.level ?? "info", text: line, testId: event.testId, section: event.section });
    }
  },
  result(run, event, at, seq) {
    const known = run.results.get(event.result.testId);
    if (known) run.results.delete(event.result.testId); // the newest comes last
    run.results.set(event.result.testId, { ...event.result, seq, at });
  },
  update(run, event) {
    setFields(run, event.run ?? {});
  },
  done(run, event, at) {
    const { type, status, passed, failed, skipped, total, ...rest } = event;
    setFields(run, { ...rest, passed, failed, skipped, total });
    run.fields.status = status;
    run.fields.finishedAt = new Date(at).toISOString();
    run.fields.duration = Math.max(0, at - Date.parse(run.fields.startedAt));
    run.frame = null; // what it shows is over
    run.volatile.clear();
    run.ended = true;
  },
  llm_token(run, event) {
    addToken(run, event);
  },
  screenshot() {},
};

function addToken(run, event) {
  run.tokens = (run.tokens + String(event.token ?? "")).slice(-MOST_TOKENS);
}

function setFields(run, fields) {
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || value === null) continue;
    if (name in run.counts) run.explicit[name] = value;
    else if (name !== "results" && name !== "logs") run.fields[name] = value;
    else if (name === "results") for (const result of value) run.results.set(result.testId, { ...result, seq: 0, at: 0 });
  }
}

/** What a volatile snapshot may change: none of what the events say better. */
function plain({ id, status, results, logs, passed, failed, skipped, total, ...rest }) {
  return rest;
}

function recount(run) {
  const counts = { passed: 0, failed: 0, skipped: 0, total: run.results.size };
  for (const { status } of run.results.values()) {
    const name = COUNTED_AS[status];
    if (name) counts[name] += 1;
  }
  for (const name of ["passed", "failed", "skipped"]) counts[name] = run.explicit[name] ?? counts[name];
  counts.total = Math.max(run.explicit.total ?? 0, counts.total);
  run.counts = counts;
}
