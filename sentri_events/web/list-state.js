// A list of runs as the live list's events make it: newest first, by when they were made. Pure.

/** An empty list. */
export function newList() {
  return { runs: new Map() };
}

/** Take in runs of which documents are here; what is newer already stays. */
export function addRuns(list, documents) {
  for (const document of documents) list.runs.set(document.id, merged(list.runs.get(document.id), document));
}

/** Apply the events of the live list. An event's run may stand in `run` or in the event itself. */
export function applyList(list, entries) {
  for (const { type, ...rest } of entries) {
    if (type === "runs") addRuns(list, rest.data);
    else if (type.startsWith("run.")) addRuns(list, [document(rest)]);
  }
}

/** The runs to show, newest first. `filter`: {project, status, text}, each "" for all. */
export function shown(list, { project = "", status = "", text = "" }) {
  const wanted = text.toLowerCase();
  return [...list.runs.values()]
    .filter(
      (run) =>
        (!project || run.projectId === project) &&
        (!status || run.status === status) &&
        [run.id, run.name ?? "", run.projectId].some((part) => part.toLowerCase().includes(wanted)),
    )
    .sort((a, b) => (a.startedAt < b.startedAt ? 1 : a.startedAt > b.startedAt ? -1 : 0));
}

function document({ run, ...rest }) {
  const made = typeof run === "object" && run !== null ? { ...rest, ...run } : { ...rest };
  if (!made.id) made.id = made.runId ?? run;
  return made;
}

function merged(known, document) {
  if (!known) return document;
  const ended = known.status !== "running" && document.status === "running"; // an end is for ever
  return ended ? { ...document, ...known } : { ...known, ...document };
}
