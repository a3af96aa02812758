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
    """What became of one fault, in seconds. `after`: from its healing until everyone was level. `latest`: how old an
    event was when it came, at most. None of them if another fault began before that."""

    kind: str
    after: float | None
    latest: float | None


def levels(record: Record) -> list[Level]:
    """One for each disturbance, in order."""
    late = list(_late(record.posts, record.readings))
    ordered = sorted(record.disturbances, key=lambda disturbance: disturbance.began)
    found = []
    quiet = 0.0  # since when all is healed, and everyone level, of what went before
    for disturbance, following in zip(ordered, [*ordered[1:], None], strict=True):
        until = math.inf if following is None else following.began
        hit = [one for one in late if disturbance.began <= one.seen and one.answered < until]
        level = max((one.seen for one in hit), default=disturbance.healed)
        if quiet <= disturbance.began and max(level, disturbance.healed) <= until:
            latest = max((one.seen - one.answered for one in hit), default=0.0)
            found.append(Level(disturbance.kind, max(0.0, level - disturbance.healed), latest))
        else:
            found.append(Level(disturbance.kind, None, None))
        quiet = max(quiet, level, disturbance.healed)
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
