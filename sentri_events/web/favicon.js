// The tab's icon and title: how the run stands, also where its tab is not looked at. The ring is its progress.

const COLOURS = { running: "#4a8fe0", good: "#34a35a", bad: "#d9363e", warn: "#d08a1d", dim: "#8a94a4" };
const LENGTH = 2 * Math.PI * 11;

/** `kind` as `tone` names it; `share` from 0 to 1; `failing`: something has failed already. */
export function setIcon(kind, share = 1, failing = false) {
  const colour = COLOURS[kind] ?? COLOURS.dim;
  const ring = (stroke, length) =>
    `<circle cx="16" cy="16" r="11" fill="none" stroke="${stroke}" stroke-width="6" stroke-dasharray="${length} 99" transform="rotate(-90 16 16)"/>`;
  const mark = failing || kind === "bad" ? `<circle cx="16" cy="16" r="6" fill="${COLOURS.bad}"/>` : "";
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${ring("#8a94a466", 99)}${ring(colour, LENGTH * share)}${mark}</svg>`;
  const href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  const link = document.querySelector("link[rel=icon]");
  if (link.href !== href) link.href = href;
}

export function setTitle(title) {
  if (document.title !== title) document.title = title;
}
