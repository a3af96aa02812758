// The one worker of all tabs of a browser: it holds the streams, so that many tabs take one connection a run.

import { Switchboard } from "./switchboard.js";

const switchboard = new Switchboard();
globalThis.onconnect = (event) => switchboard.attach(event.ports[0]);
