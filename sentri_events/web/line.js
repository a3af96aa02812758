// This tab's line to the switchboard: in the browser's shared worker, or in the tab itself where there are none.

import { onToken, token } from "./session.js";
import { Switchboard } from "./switchboard.js";

const HERE = 60_000; // milliseconds between two signs of life

const listeners = new Map(); // key -> {message, onEntries, onState}
const port = connect();

function connect() {
  if (typeof SharedWorker !== "undefined") {
    try {
      return new SharedWorker(new URL("worker.js", import.meta.url), { type: "module", name: "sentri-events" }).port;
    } catch {
      // Not allowed here: one stream a tab, then.
    }
  }
  const { port1, port2 } = new MessageChannel();
  new Switchboard().attach(port2);
  return port1;
}

/** Listen: kind "run" with its id and the position to go on from, or "list". Returns what ends it. */
export function listen({ key, kind, id, position }, onEntries, onState) {
  const message = { verb: "follow", key, kind, id, position };
  listeners.set(key, { message, onEntries, onState });
  port.postMessage(message);
  return () => {
    listeners.delete(key);
    port.postMessage({ verb: "leave", key });
  };
}

port.onmessage = ({ data: { key, entries, state } }) => {
  const listener = listeners.get(key);
  if (entries) listener?.onEntries(entries);
  if (state) listener?.onState(state);
};

const tellToken = () => port.postMessage({ verb: "token", token: token() });
tellToken();
onToken(tellToken);
setInterval(() => port.postMessage({ verb: "here" }), HERE);
addEventListener("pagehide", () => port.postMessage({ verb: "bye" }));
addEventListener("pageshow", (event) => {
  if (!event.persisted) return; // it comes back as it was left
  tellToken();
  for (const { message } of listeners.values()) port.postMessage(message);
});
