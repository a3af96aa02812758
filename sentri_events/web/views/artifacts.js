// Files that belong to a run or a result: pictures and films are shown, all else is a link.

import { root } from "../api.js";
import { html } from "../vendor/htm-preact.js";

const PICTURE = /\.(png|jpe?g|gif|webp|svg)$/i;
const FILM = /\.(webm|mp4)$/i;

/** The artifacts among the fields of `value`: [name, URL]. Their names end in Path, as the producers' do. */
export function artifactsOf(value) {
  const found = [];
  for (const [name, path] of Object.entries(value)) {
    if (name.endsWith("Path") && typeof path === "string" && path) found.push([name.slice(0, -4), path]);
    if (name === "videoSegments" && Array.isArray(path)) path.forEach((one, index) => found.push([`video ${index + 1}`, one]));
  }
  return found.map(([name, path]) => [name, safe(path)]).filter(([, url]) => url);
}

function safe(path) {
  try {
    const url = new URL(path.startsWith("/artifacts/") ? path.slice(1) : path, root); // wherever we are mounted
    return ["http:", "https:"].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

export function Artifacts({ artifacts }) {
  if (artifacts.length === 0) return null;
  return html`<ul class="artifacts" aria-label="Artifacts">
    ${artifacts.map(([name, url]) => html`<li key=${name + url.pathname}><${Artifact} name=${name} url=${url} /></li>`)}
  </ul>`;
}

function Artifact({ name, url }) {
  const own = url.origin === location.origin;
  const file = decodeURIComponent(url.pathname.split("/").at(-1));
  const link = html`<a href=${url.href} target="_blank" rel="noreferrer">${name}: ${file}</a>`;
  if (own && PICTURE.test(url.pathname)) return html`${link}<img src=${url.href} alt=${file} loading="lazy" />`;
  if (own && FILM.test(url.pathname)) return html`${link}<video src=${url.href} controls preload="none"></video>`;
  return link;
}
