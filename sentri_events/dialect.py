"""How a viewer wants its events: the options of a stream (protocol, section 2) and the bytes that they make.

Viewers of a run with the same dialect share the same bytes: an event is encoded once for all of them (law 5).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from sentri_events.event import Event, iso
from sentri_events.links import Links
from sentri_events.position import write_position
from sentri_events.sse import HEARTBEAT, frame, retry

PIECE_BYTES = 64 << 10
ALWAYS_SHOWN = frozenset({"snapshot", "reset", "done"})


class Piece(NamedTuple):
    """What is handed to a sink in one go: at most 64 KiB, or a single event.

    Whoever has it whole stands at seq `upto` (0: it holds no durable event). It holds `events`, of which `volatile` are
    volatile. `data` is None if the viewer does not want any of them.
    """

    upto: int
    volatile: int
    events: int
    data: Any


def chunk(body: bytes) -> bytes:
    """The chunk of HTTP/1.1 that holds `body`."""
    return b"%x\r\n%b\r\n" % (len(body), body)


_HEARTBEATS = (HEARTBEAT, chunk(HEARTBEAT))  # the same bytes for all


class Dialect(Protocol):
    """Turns events into what a sink takes. Equal dialects are one; they are keys of a dictionary."""

    def shows(self, kind: str) -> bool:
        """Whether events of this type are wanted."""

    def join(self, events: Sequence[Event]) -> Any:
        """The `data` of a piece that holds exactly these events."""


class StreamDialect(NamedTuple):
    """text/event-stream. `chunked` is the HTTP/1.1 framing around it, `links` signs what needs it; the others are the
    query's options."""

    chunked: bool = True
    named: bool = False
    meta: bool = False
    types: frozenset[str] | None = None
    links: Links | None = None

    def shows(self, kind: str) -> bool:
        """By `?types=`; `snapshot`, `reset` and `done` always."""
        return self.types is None or kind in self.types or kind in ALWAYS_SHOWN

    def join(self, events: Sequence[Event]) -> bytes:
        """Their blocks, within one chunk."""
        return self.wrap(b"".join(map(self.block, events)))

    def block(self, event: Event) -> bytes:
        """One event as a block; a volatile one has no id."""
        id = write_position(event.epoch, event.seq) if event.seq else None
        json = event.json if self.links is None else self.links.event(event.type, event.json)
        if self.meta:
            seq = b',"_seq":%d' % event.seq if event.seq else b""
            json = b'%b%b,"_at":"%b"}' % (json[:-1], seq, iso(event.at).encode())
        return frame(json, id, event.type if self.named else None)

    def document(self, json: bytes) -> bytes:
        """A run document as it is shown."""
        return json if self.links is None else self.links.document(json)

    def opening(
        self, milliseconds: int, blocks: Sequence[tuple[str, bytes, str | None]], id: str | None = None
    ) -> bytes:
        """What a stream begins with: `retry`, a position where `id` is given, then blocks of (type, JSON, id)."""
        made = [frame(json, block_id, kind if self.named else None) for kind, json, block_id in blocks]
        position = b"" if id is None else b"id: %b\n\n" % id.encode()
        return self.wrap(retry(milliseconds) + position + b"".join(made))

    def wrap(self, body: bytes) -> bytes:
        """`body` as one chunk, or bare for HTTP/1.0."""
        return chunk(body) if self.chunked else body

    def heartbeat(self) -> bytes:
        """A comment that keeps proxies and viewers sure that the stream is open."""
        return _HEARTBEATS[self.chunked]


def pieces(events: Sequence[Event], dialect: Dialect) -> list[Piece]:
    """`events`, in order, cut into pieces."""
    cut: list[Piece] = []
    part: list[Event] = []
    room = PIECE_BYTES
    for event in events:
        room -= len(event.json)
        if part and room < 0:
            cut.append(_piece(part, dialect))
            part, room = [], PIECE_BYTES - len(event.json)
        part.append(event)
    if part:
        cut.append(_piece(part, dialect))
    return cut


def _piece(part: list[Event], dialect: Dialect) -> Piece:
    shown = [event for event in part if dialect.shows(event.type)]
    volatile = sum(not event.seq for event in part)
    return Piece(max(event.seq for event in part), volatile, len(part), dialect.join(shown) if shown else None)
