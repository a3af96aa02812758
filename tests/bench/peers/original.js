// The original's design: one process, a Set of responses per run, each event serialised once and written to each viewer,
// a timer per connection, a snapshot at the start, and Redis between instances (where REDIS_URL is set). It has neither
// the original's database nor its users: lines are kept in memory, so it is faster than the original.
// `node original.js PORT`; GET /sse/<run>, POST /emit/<run>.
"use strict";

const express = require("express");
const Redis = require("ioredis");

const ORIGIN = `inst_${Date.now()}_${Math.random().toString(36).slice(2, 8)}`;
const HEARTBEAT = 5000;
const url = process.env.REDIS_URL;
const publisher = url && new Redis(url);
const subscriber = url && new Redis(url);
const viewers = new Map();
const logs = new Map();

const channelOf = (run) => `sentri:run:${run}`;

function tell(run, text) {
  const frame = `data: ${text}\n\n`;
  for (const response of viewers.get(run) ?? []) response.write(frame);
}

function emit(run, event) {
  if (event.type === "log") {
    const lines = logs.get(run) ?? [];
    logs.set(run, lines);
    lines.push(event.message);
  }
  tell(run, JSON.stringify(event));
  if (publisher) publisher.publish(channelOf(run), JSON.stringify({ ...event, _origin: ORIGIN }));
}

if (subscriber) {
  subscriber.on("message", (channel, message) => {
    const event = JSON.parse(message);
    if (event._origin === ORIGIN) return;
    delete event._origin;
    tell(channel.slice(channelOf("").length), JSON.stringify(event));
  });
}

const app = express();

app.get("/sse/:run", (request, response) => {
  const { run } = request.params;
  response.set({
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    Connection: "keep-alive",
    "X-Accel-Buffering": "no",
  });
  response.flushHeaders();
  const document = { id: run, projectId: "PRJ-1", status: "running", results: [], logs: logs.get(run) ?? [] };
  response.write(`data: ${JSON.stringify({ type: "snapshot", run: document })}\n\n`);
  const all = viewers.get(run) ?? new Set();
  if (subscriber && all.size === 0) subscriber.subscribe(channelOf(run));
  viewers.set(run, all.add(response));
  const timer = setInterval(() => response.write(": heartbeat\n\n"), HEARTBEAT);
  request.on("close", () => {
    clearInterval(timer);
    all.delete(response);
  });
});

app.post("/emit/:run", express.json({ limit: "1mb" }), (request, response) => {
  emit(request.params.run, request.body);
  response.status(204).end();
});

const listen = () => app.listen(Number(process.argv[2]), "127.0.0.1", 4096);
if (subscriber) subscriber.once("ready", listen);
else listen();
