// The original's way with run events: emit to one's own viewers first, then publish; relay what others publish.
// REDIS_URL says where; it prints the port that it listens on.
"use strict";

const express = require("express");
const Redis = require("ioredis");

const ORIGIN = `inst_${Date.now()}_${Math.random().toString(36).slice(2, 8)}`;
const publisher = new Redis(process.env.REDIS_URL);
const subscriber = new Redis(process.env.REDIS_URL);
const viewers = new Map();

const channelOf = (runId) => `sentri:run:${runId}`;

function tell(runId, event) {
  for (const response of viewers.get(runId) ?? []) {
    response.write(`data: ${JSON.stringify(event)}\n\n`);
    if (event.type === "done") response.end();
  }
}

function emitRunEvent(runId, type, payload = {}) {
  const event = { type, ...payload };
  tell(runId, event);
  publisher.publish(channelOf(runId), JSON.stringify({ ...event, _origin: ORIGIN }));
}

subscriber.on("message", (channel, message) => {
  let event;
  try {
    event = JSON.parse(message);
  } catch {
    return;
  }
  if (event._origin === ORIGIN) return;
  delete event._origin;
  tell(channel.slice(channelOf("").length), event);
});

const app = express();

app.get("/api/v1/runs/:runId/events", async (request, response) => {
  const { runId } = request.params;
  response.set({ "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  const all = viewers.get(runId) ?? new Set();
  viewers.set(runId, all.add(response));
  request.on("close", () => all.delete(response));
  await subscriber.subscribe(channelOf(runId));
  response.write(": subscribed\n\n");
});

app.post("/emit/:runId/:type", express.json({ limit: "10mb" }), (request, response) => {
  emitRunEvent(request.params.runId, request.params.type, request.body);
  response.status(204).end();
});

// Who subscribes sooner does so within ioredis' own check of the connection: that fails, and the connection is lost.
subscriber.once("ready", () => {
  const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
});
