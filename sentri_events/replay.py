"""A stored run again, each event when its time comes."""

import asyncio
import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from sentri_events.client import Client, Received
from sentri_events.errors import ClientError
from sentri_events.event import COUNTS, MAX_BATCH, OF_THE_SERVER
from sentri_events.render import EXIT_STATUS
from sentri_events.screen import View, begin, reset_sentence

BATCH_BYTES = 4 << 20
# What follows from the events, and what belongs to the run that was.
_NOT_COPIED = OF_THE_SERVER | (set(COUNTS) - {"total"}) | {"startedAt", "finishedAt", "duration", "error"}
_NOT_COPIED |= {"results", "logs", "logsTruncated", "testsGenerated"}


async def in_time(
    events: AsyncIterable[Received],
    speed: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> AsyncIterator[list[Received]]:
    """The events in their order, in batches as they are due: the first at once, the others as long after it as they
    were then, divided by `speed` (infinity: at once).

    Whoever takes a batch late finds more in the next one; the schedule does not slip. An event whose time lies before
    that of its predecessor comes right after it.
    """
    begun, first, due = clock(), None, 0.0
    batch: list[Received] = []
    size = 0
    async for received in events:
        if received.at is not None:  # a reset has no time of its own
            at = datetime.fromisoformat(received.at).timestamp()
            first = at if first is None else first
            due = begun + (at - first) / speed
        if batch and (due > clock() or len(batch) == MAX_BATCH or size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        if (early := due - clock()) > 0:
            await sleep(early)
        batch.append(received)
        size += len(json.dumps(received.event))
    if batch:
        yield batch


async def stored(client: Client, run: str, first: int, last: int | None) -> AsyncIterator[Received]:
    """The events from seq `first` to `last`. Raises `ClientError`, with status 404 where `first` has not come yet."""
    async for received in client.history(run, after=first - 1, until=last):
        if received.type == "reset" and received.event["reason"] == "future":
            raise ClientError(f"{run} has no event {first} yet.", 404)
        yield received


async def show(batches: AsyncIterable[list[Received]], view: View) -> int:
    """Show them; returns the exit status that their `done` means, 0 without one."""
    status = 0
    begin(view)
    try:
        async for batch in batches:
            for received in batch:
                view.show(received)
                if received.type == "done":
                    status = EXIT_STATUS[received.event["status"]]
    finally:
        view.close()
    return status


async def copy(
    client: Client,
    document: Mapping[str, Any],
    batches: AsyncIterable[list[Received]],
    *,
    project: str | None,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> int:
    """Publish them into a new run like `document`, of `project` or of its own; `say` gets the new run's id, `warn`
    a sentence where events are missing.

    Each batch is acknowledged before the next is sent. A copy that ends without a `done` is aborted: nobody would
    ever end it. Returns the exit status that the `done` means, 0 without one.
    """
    fields = {name: value for name, value in document.items() if name not in _NOT_COPIED and value is not None}
    made = await client.create_run(project=project or document["projectId"], **fields)
    say(made["id"])
    status = None
    try:
        async for batch in batches:
            for received in batch:
                if received.seq is None:
                    warn(reset_sentence(received))
            if events := [received.event for received in batch if received.seq is not None]:
                await client.publish(made["id"], events)
            if batch[-1].type == "done":
                status = EXIT_STATUS[batch[-1].event["status"]]
    finally:
        if status is None:
            await client.abort(made["id"])
    return status or 0
