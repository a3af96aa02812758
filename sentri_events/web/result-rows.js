// Which rows the table of results has, and in which order. Pure.

import { countedAs } from "./run-state.js";

const FIRST = ["failed", "other", "passed", "skipped", "pending"]; // without another order
const VALUES = {
  name: (row) => row.name,
  worker: (row) => row.result?.worker,
  started: (row) => row.result?.startedAt,
  duration: (row) => row.result?.durationMs,
};

/** All rows of a run: {id, name, kind, result}. `kind` is one of FIRST; tests that are still to come have no result. */
export function allRows(run) {
  const rows = [];
  for (const [id, result] of run.results) {
    rows.push({ id, name: String(result.testName ?? id), kind: countedAs(result.status) ?? "other", result });
  }
  for (const test of Array.isArray(run.fields.testQueue) ? run.fields.testQueue : []) {
    const id = test?.id ?? test;
    if (typeof id === "string" && !run.results.has(id)) {
      rows.push({ id, name: String(test.name ?? id), kind: "pending", result: null });
    }
  }
  return rows;
}

/** How many rows there are of each kind that there is. */
export function kinds(rows) {
  const found = new Map(FIRST.map((kind) => [kind, 0]));
  for (const { kind } of rows) found.set(kind, found.get(kind) + 1);
  return [...found].filter(([, number]) => number > 0);
}

/**
 * The rows of one kind (or all, "") whose name or id holds `words`, in order: `sort` is a column, with a "-" from the
 * largest to the smallest; "" for failed ones first, otherwise as they came. Rows without a value come last.
 */
export function ordered(rows, { kind, words, sort }) {
  const sought = words.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = ({ id, name }) => {
    const text = `${id} ${name}`.toLowerCase();
    return sought.every((word) => text.includes(word));
  };
  const chosen = rows.filter((row) => (!kind || row.kind === kind) && fits(row));
  const value = VALUES[sort.replace("-", "")];
  if (!value) return FIRST.flatMap((first) => chosen.filter((row) => row.kind === first));
  const sign = sort.startsWith("-") ? -1 : 1;
  return chosen.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === b) return 0;
    if (a === undefined || a === null) return 1;
    if (b === undefined || b === null) return -1;
    return a < b ? -sign : sign;
  });
}
