"""Producers: numbered events, published over all instances with retries and keys. Shares no code with our client."""

import asyncio
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

from tests.chaos.records import Post, Record, leaves

PASSING = (429, 502, 503, 504)
PATIENCE = 3.0  # seconds for an answer, before another instance is asked
PAUSE = (0.05, 0.4)
TWICE_AT_ONCE = 0.05  # the share of posts that are sent to two instances at the same moment
BATCH = (2, 20)
BATCHES = 0.3
LARGE = 0.01
LARGE_SIZE = 70_000  # more than Redis is given whole
TEXTS = ("plain", "line\u2028separator", "\U0001f40d snake", 'quote " and \\', "tab\tnewline\n", "é")


@dataclass(frozen=True)
class Load:
    """How much is published: so many runs at a time, each of that many seconds, `rate` events a second in all."""

    runs: int = 8
    seconds: tuple[float, float] = (10.0, 40.0)
    writers: int = 3
    rate: float = 80.0
    large: float = LARGE
    large_size: int = LARGE_SIZE


@dataclass(slots=True)
class Run:
    """A run that is being published. `head` is the last number that was answered."""

    id: str
    head: int = 0
    ended: bool = False


class Refused(Exception):
    """A server answered what should never be answered."""


@dataclass
class Producers:
    """Publishes runs, one after another, until `stop`. `current` are those that go on."""

    urls: Sequence[str]
    load: Load
    record: Record
    chance: Random
    current: list[Run] = field(default_factory=list)
    over: bool = False
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Begin nothing more, and end what goes on."""
        self._stopped.set()

    async def publish(self) -> None:
        """Returns after `stop`, when every run has ended."""
        async with httpx2.AsyncClient(timeout=PATIENCE, trust_env=False) as self._http, asyncio.TaskGroup() as feeds:
            for _ in range(self.load.runs):
                feeds.create_task(self._feed())
        self.over = True

    async def _feed(self) -> None:
        while not self._stopped.is_set():
            try:
                await self._run()
            except* Refused as group:
                self.record.complaints += map(str, leaves(group))

    async def _run(self) -> None:
        made = await self._ask("/runs", b'{"projectId":"chaos"}', "application/json")
        run = Run(made["id"])
        self.current.append(run)
        end = asyncio.get_running_loop().time() + self.chance.uniform(*self.load.seconds)
        try:
            async with asyncio.TaskGroup() as writing:
                for number in range(self.load.writers):
                    writing.create_task(self._write(run, f"writer {number}", end))
            await self._post(run, Post(run.id, "the end", 0, (_text({"type": "done", "status": "completed"}),)))
        finally:
            run.ended = True
            self.current.remove(run)

    async def _write(self, run: Run, writer: str, end: float) -> None:
        loop, number = asyncio.get_running_loop(), 0
        mean = 1 - BATCHES + BATCHES * sum(BATCH) / 2
        pause = mean * self.load.runs * self.load.writers / self.load.rate
        while loop.time() < end and not self._stopped.is_set():
            size = self.chance.randint(*BATCH) if self.chance.random() < BATCHES else 1
            texts = tuple(self._event(writer, number + place) for place in range(size))
            await self._post(run, Post(run.id, writer, number, texts))
            number += size
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), self.chance.expovariate(1 / pause))

    def _event(self, writer: str, number: int) -> str:
        chance = self.chance.random()
        text = self.chance.choice(TEXTS)
        if chance < self.load.large:
            text *= 1 + self.load.large_size // len(_text(text))
        if chance < 0.6:
            return _text({"type": "log", "message": f"{writer} {number} {text}", "writer": writer, "n": number})
        if chance < 0.8:
            result = {"testId": f"test {number % 50}", "status": self.chance.choice(("passed", "failed", "skipped"))}
            return _text({"type": "result", "result": result, "writer": writer, "n": number})
        return _text({"type": "step", "writer": writer, "n": number, "name": text, "deep": [{"a": [1, None, True]}]})

    async def _post(self, run: Run, post: Post) -> None:
        self.record.posts.append(post)
        if len(post.texts) == 1:
            body, kind = post.texts[0], "application/json"
        elif self.chance.random() < 0.5:
            body, kind = "[" + ",".join(post.texts) + "]", "application/json"
        else:
            body, kind = "\n".join(post.texts), "application/x-ndjson"
        path, key = f"/runs/{run.id}/events", os.urandom(8).hex()
        times = 2 if self.chance.random() < TWICE_AT_ONCE else 1
        async with asyncio.TaskGroup() as asking:
            asked = [asking.create_task(self._ask(path, body.encode(), kind, key)) for _ in range(times)]
        answers = [task.result() for task in asked]
        first, last = answers[0]["first"], answers[0]["last"]
        if any(answer != answers[0] for answer in answers) or last - first + 1 != len(post.texts):
            raise Refused(f"{run.id}: {len(post.texts)} events were answered with {answers}.")
        post.first, post.answered_at = first, asyncio.get_running_loop().time()
        run.head = max(run.head, last)

    async def _ask(self, path: str, body: bytes, kind: str, key: str | None = None) -> dict[str, Any]:
        """The good answer to a request: the same one is sent to one instance after another until there is one."""
        headers = {"Content-Type": kind, "Idempotency-Key": key or os.urandom(8).hex()}
        while True:
            url = f"{self.chance.choice(self.urls)}/api/v1{path}"
            try:
                answer = await self._http.post(url, content=body, headers=headers)
            except httpx2.TransportError:
                pass
            else:
                if answer.status_code == 201:
                    return dict(answer.json())
                if answer.status_code == 500:
                    self.record.complaints.append(f"POST {path} was answered with 500.")
                elif answer.status_code not in PASSING:
                    raise Refused(f"POST {path} was answered with {answer.status_code} {answer.text:.200}.")
            await asyncio.sleep(self.chance.uniform(*PAUSE))


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
