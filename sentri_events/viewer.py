"""A viewer is a cursor and a sink, and nothing that grows. Viewers with the same dialect share a lane and its bytes."""

from collections.abc import Sequence
from typing import Any, Protocol

from sentri_events.dialect import Dialect, Piece, pieces
from sentri_events.event import Event

SHARED_CUTS = 32


class Sink(Protocol):
    """Where a viewer's pieces go: a socket, a queue. All its methods are called on the event loop and do not block."""

    def start(self, viewer: "Viewer") -> bool:
        """Whom to tell. False as for `write`."""

    def write(self, data: Any) -> bool:
        """Take a piece. False: it takes no more for now (it keeps what is left of this one), and calls
        `Viewer.ready` when it does; or it is gone, and has called `Viewer.leave`."""

    def finish(self, last: bytes = b"") -> None:
        """Nothing follows what was written; but who reads a text/event-stream gets `last`, whole blocks of it."""

    def beat(self) -> bool:
        """Show the viewer that it is still connected; False as for `write`."""


class Followed(Protocol):
    """What a viewer follows: a run's channel, or a list of runs. `volatile_seen` counts what had no place in a run."""

    volatile_seen: int

    def advance(self, viewer: "Viewer") -> None:
        """Give the viewer what it lacks, as far as its sink takes it; then it is live."""

    def fall_behind(self, viewer: "Viewer") -> None:
        """Its sink takes no more."""

    def leave(self, viewer: "Viewer") -> None:
        """Forget the viewer."""


class Viewer:
    """One follower of one run, or of one list: a cursor and a sink, and nothing that grows."""

    __slots__ = ("bucket", "channel", "cursor", "heard", "lane", "live", "sink")

    def __init__(self, sink: Sink, channel: Followed, lane: "Lane", cursor: int) -> None:
        self.sink = sink
        self.channel: Followed | None = channel
        self.lane = lane
        self.cursor = cursor
        self.heard = channel.volatile_seen
        self.live = False
        self.bucket = 0

    def ready(self) -> None:
        """The sink takes pieces again."""
        if self.channel is not None and not self.live:
            self.channel.advance(self)

    def fell_behind(self) -> None:
        """The sink took no heartbeat: it is busy with what it has."""
        if self.channel is not None:
            self.channel.fall_behind(self)

    def leave(self) -> None:
        """The viewer is gone. Harmless if it has left already."""
        if self.channel is not None:
            self.channel.leave(self)


class Lane:
    """The viewers of a channel that share a dialect, and so their bytes."""

    __slots__ = ("cut", "dialect", "live", "members")

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.live: dict[Viewer, None] = {}
        self.members = 0
        self.cut: dict[tuple[int, int], list[Piece]] = {}

    def pieces(self, events: Sequence[Event]) -> list[Piece]:
        """The pieces of durable events that several viewers may want: a storm of returners shares them."""
        range = (events[0].seq, events[-1].seq)
        if range not in self.cut:
            if len(self.cut) == SHARED_CUTS:
                del self.cut[next(iter(self.cut))]
            self.cut[range] = pieces(events, self.dialect)
        return self.cut[range]
