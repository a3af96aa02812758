// What the page knows about its own connection, said as it is.

import { html } from "../vendor/htm-preact.js";
import { useClock } from "../hooks.js";

const WORDS = {
  connecting: "Connecting …",
  live: "Live",
  "catching up": "Catching up …",
  polling: "Live by asking again",
  finished: "Finished",
  interrupted: "Interrupted",
  "signed out": "Signed out",
  gone: "Not found",
  ended: "Finished",
};
const HELP = { polling: "No stream gets through to here, so the page asks for news every moment." };

/** `connection`: {name, until?, sentence?}; `behind`: how many events are still to come, where that is known. */
export function Connection({ connection, behind = 0 }) {
  const { name, until, sentence } = connection;
  const now = useClock(name === "reconnecting");
  const seconds = Math.max(0, Math.ceil((until - now) / 1000));
  let words = WORDS[name] ?? name;
  if (name === "reconnecting") words = seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting …";
  if (name === "catching up" && behind > 0) words = `Catching up, ${behind.toLocaleString()} to go`;
  return html`<span class="connection" data-state=${name} title=${sentence ?? HELP[name] ?? ""}>
    <i aria-hidden="true"></i><span>${words}</span>
  </span>`;
}
