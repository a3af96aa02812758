"""Events from standard input into a run, as they come."""

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sentri_events.client import Client
from sentri_events.errors import BadRequest, ClientError
from sentri_events.event import MAX_BATCH

READ = 1 << 20  # with the rest of a line before it, as ASCII, that still fits into a body
MAX_LINE = 4 << 20


Batch = list[tuple[int, Mapping[str, Any]]]  # events for one request, each with the number of its line


def publish_all(client: Client, run: str, given: Iterable[Batch], say: Callable[[str], None]) -> None:
    """Publish the batches, each acknowledged before the next is read; `say` gets the range of their seqs.

    What was acknowledged before an error or Ctrl-C is told, too. Raises `ClientError`, and what `given` raises.
    """
    ranges = Ranges(say)
    # Reading blocks between two batches, outside of the event loop, where Ctrl-C finds it.
    with asyncio.Runner() as runner:
        try:
            runner.run(client.alive(run))  # an unknown run or a missing server shows now, not at the first line
            for batch in given:
                try:
                    ranges.add(runner.run(client.publish(run, [event for _, event in batch])))
                except ClientError as error:
                    first, last = batch[0][0], batch[-1][0]
                    where = f"Lines {first} to {last}: " if first < last else f"Line {last}: " if last > 1 else ""
                    raise ClientError(f"{where}{error}", error.status) from None
        finally:
            ranges.end()
            runner.run(client.__aexit__())


def read_payload(text: str | bytes) -> dict[str, Any]:
    """The JSON object that `text` holds. Raises `BadRequest`."""
    try:
        value = json.loads(text if isinstance(text, str) else text.decode("utf-8"), parse_constant=_refuse)
    except UnicodeDecodeError:
        raise BadRequest("This is not UTF-8.") from None
    except RecursionError:
        raise BadRequest("This is nested too deep.") from None
    except ValueError as error:
        raise BadRequest(f"This is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise BadRequest("This is not a JSON object.")
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON knows")


def batches(descriptor: int, kind: str) -> Iterator[Batch]:
    """The events of a file descriptor that holds one JSON object a line, each of type `kind` unless it says otherwise.

    What can be read at once makes a batch, so that a slow pipe is published line by line and a file in large pieces.
    Raises `BadRequest` with the number of the first line that is broken, after everything before it.
    """
    for lines in _lines(descriptor):
        batch: Batch = []
        for number, line in lines:
            try:
                event = {"type": kind, **read_payload(line)}
            except BadRequest as error:
                if batch:
                    yield batch
                raise BadRequest(f"Line {number}: {error}") from None
            batch.append((number, event))
            if len(batch) == MAX_BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _lines(descriptor: int) -> Iterator[list[tuple[int, bytes]]]:
    """The lines that each read completes, with their numbers, without blank ones."""
    rest, number = b"", 0
    while data := os.read(descriptor, READ):
        *whole, rest = (rest + data).split(b"\n")
        yield [(place, line) for place, line in enumerate(whole, number + 1) if line.strip()]
        number += len(whole)
        if len(rest) > MAX_LINE:
            raise BadRequest(f"Line {number + 1}: This is longer than {MAX_LINE} bytes.")
    if rest.strip():
        yield [(number + 1, rest)]


class Ranges:
    """The numbers that the server gave, joined where they follow each other: one line for an undisturbed producer."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._first = self._last = 0

    def add(self, answer: Mapping[str, Any]) -> None:
        """Take in the answer to a batch; volatile events have no numbers."""
        if "first" not in answer:
            return
        if answer["first"] != self._last + 1 or not self._first:
            self.end()
            self._first = answer["first"]
        self._last = answer["last"]

    def end(self) -> None:
        """Say what has not been said."""
        if self._first:
            self._say(f"{self._first}-{self._last}" if self._last > self._first else f"{self._first}")
        self._first = self._last = 0
