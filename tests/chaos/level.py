"""How long after a fault everyone was level again, from what was answered and when it was seen."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.chaos.records import Post, Reading, Record

LATE = 0.5  # seconds; who is less behind than that is level


class Lateness(NamedTuple):
    """An event that a steady viewer saw late, on the event loop's clock."""

    answered: float
    seen: float


class Level(NamedTuple):
    """What became of one fault. `after`: the seconds from its healing until everyone was level. `latest`: how old an
    event was when it came, at most. `breaks`: steady streams that broke."""

    kind: str
    after: float
    latest: float
    breaks: int


def levels(record: Record) -> list[Level]:
    """One for each disturbance that was over, with everyone level, before another one began; in order."""
    late = list(_late(record.posts, record.readings))
    ordered = sorted(record.disturbances, key=lambda disturbance: disturbance.began)
    found = []
    quiet = 0.0  # since when all is healed, and everyone level, of what went before
    for disturbance, following in zip(ordered, [*ordered[1:], None], strict=True):
        until = math.inf if following is None else following.began
        hit = [one for one in late if disturbance.began <= one.seen and one.answered < until]
        level = max(disturbance.healed, max((one.seen for one in hit), default=0.0))
        if quiet <= disturbance.began and level <= until:
            latest = max((one.seen - one.answered for one in hit), default=0.0)
            breaks = sum(disturbance.began <= broken < until for broken in record.breaks)
            found.append(Level(disturbance.kind, level - disturbance.healed, latest, breaks))
        quiet = max(quiet, level)
    return found


def _late(posts: Iterable[Post], readings: Sequence[Reading]) -> Iterator[Lateness]:
    answered = {
        (post.run, seq): post.answered_at
        for post in posts
        if post.first
        for seq in range(post.first, post.first + len(post.texts))
    }
    for reading in readings:
        for sight in reading.sights if reading.steady else ():
            at = answered.get((reading.run, sight.seq), math.inf)
            if at >= reading.began_at and sight.at - at > LATE:
                yield Lateness(at, sight.at)
