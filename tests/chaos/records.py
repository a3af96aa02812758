"""What the program remembers of a run of itself: what was sent and answered, and what every viewer saw."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True)
class Post:
    """One request to publish. `texts` are its events as JSON; `number` counts its writer's events, from its first one.

    `first` is the seq that its first event was given, 0 until it is answered; times are those of the event loop.
    """

    run: str
    writer: str
    number: int
    texts: tuple[str, ...]
    first: int = 0
    answered_at: float = 0.0


class Sight(NamedTuple):
    """A viewer saw a durable event."""

    seq: int
    text: str
    at: float


@dataclass(slots=True)
class Reading:
    """One viewer's reading of one run, over any number of connections.

    It owes every event after `start` (None: it never began) to the run's end. `lines` are the log lines, seq and
    message, of the snapshot that it began with. `steady`: its connection was left alone by the proxies.
    """

    run: str
    viewer: str
    steady: bool
    began_at: float = math.inf
    start: int | None = None
    lines: list[tuple[int, str]] | None = None
    sights: list[Sight] = field(default_factory=list)
    ended: bool = False


class Disturbance(NamedTuple):
    """A fault as it happened: from its first moment to the one when all parts were there again."""

    kind: str
    began: float
    healed: float


@dataclass(slots=True)
class Record:
    """All of it. `breaks`: when a steady viewer lost its stream before the run's end. `complaints` are sentences about
    what should never happen at all."""

    posts: list[Post] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    breaks: list[float] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _texts: dict[str, str] = field(default_factory=dict)

    def shared(self, text: str) -> str:
        """`text`, kept once however many viewers see it."""
        return self._texts.setdefault(text, text)


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that task groups have wrapped."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaves(inner)]
