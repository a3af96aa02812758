"""One viewer's reading of a run, over any number of connections: bytes in, each event once. No I/O, no clock."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sentri_events.errors import ClientError
from sentri_events.sse import Message, Parser

_PLACE = re.compile(r"([a-z0-9]{6,16})\.([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Received:
    """One event as it came. `event` is the whole object, `type` included, without the server's own keys.

    `seq` is None for what is not stored, `at` (ISO 8601) for what has no time: `snapshot` and `reset`. `position` is
    where to go on after this event; None if there is no such place yet.
    """

    run: str
    type: str
    event: dict[str, Any]
    seq: int | None
    at: str | None
    position: str | None


class Reading:
    """Begins at `position`, or nowhere (""). Feed it the bytes of each connection, after `begin`.

    `position` is what the next connection asks for as `Last-Event-ID`; `retry` the seconds that the stream wants a
    viewer to wait before it connects again, None if it has not said.
    """

    def __init__(self, run: str, position: str) -> None:
        self.run = run
        self.position = position
        self.retry: float | None = None
        self._parser = Parser()
        self._seen = _place(position)

    def begin(self) -> None:
        """A new connection: what the last one left unfinished is worth nothing."""
        self._parser = Parser()
        self._parser.last_event_id = self.position

    def feed(self, data: bytes) -> Iterator[Received]:
        """The events that `data` completes. Raises `ClientError` for a message that is no event."""
        messages = self._parser.feed(data)
        if self._parser.retry is not None:
            self.retry = self._parser.retry / 1000
        for message in messages:
            received = self._read(message)
            if received is not None:
                yield received
        self.position = self._parser.last_event_id

    def _read(self, message: Message) -> Received | None:
        try:
            sent = json.loads(message.data)
            type = sent["type"]
        except (ValueError, KeyError, TypeError):
            raise ClientError(f"The stream of run {self.run} sent what is no event: {message.data[:80]!r}.") from None
        if type == "reset":
            self._seen = None
        if message.id is not None:
            place = _place(message.id)
            if place and self._seen and type != "snapshot" and place[0] == self._seen[0] and place[1] <= self._seen[1]:
                return None
            self._seen = place
            self.position = message.id
        event = {key: value for key, value in sent.items() if not key.startswith("_")}
        return Received(self.run, type, event, sent.get("_seq"), sent.get("_at"), self.position or None)


def _place(position: str) -> tuple[str, int] | None:
    """Epoch and seq, if it says both."""
    match = _PLACE.fullmatch(position)
    return (match[1], int(match[2])) if match else None
