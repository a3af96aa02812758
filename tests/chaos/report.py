"""The table that a campaign ends with."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.level import LATE, Level, levels
from tests.chaos.oracle import Verdict
from tests.chaos.records import Record

SHOWN = 40  # findings


def table(verdict: Verdict, record: Record) -> Iterator[str]:
    """Its lines."""
    yield f"{'events answered':>16} {'stored':>10} {'seen':>10} {'lost':>7} {'twice':>7} {'out of order':>13}"
    yield (
        f"{verdict.answered:>16,} {verdict.stored:>10,} {verdict.seen:>10,} {verdict.lost:>7,} {verdict.twice:>7,} "
        f"{verdict.out_of_order:>13,}"
    )
    yield ""
    yield f"{'':34} {'':>5} {'alone':>5} {'seconds until level':>20} {'oldest event':>13} {'streams':>8}"
    yield f"{'fault':34} {'times':>5} {'':>5} {'median':>11} {'worst':>8} {'seen':>13} {'broken':>8}"
    times, found = Counter(disturbance.kind for disturbance in record.disturbances), levels(record)
    for kind in sorted(times):
        yield f"{kind:34} {times[kind]:>5} {_row([level for level in found if level.kind == kind])}"
    yield ""
    for finding in verdict.findings[:SHOWN]:
        yield f"- {finding}"
    if len(verdict.findings) > SHOWN:
        yield f"- and {len(verdict.findings) - SHOWN} more"
    yield "sound: nothing lost, nothing twice, nothing out of order" if verdict.sound else "NOT SOUND"


def _row(alone: Sequence[Level]) -> str:
    """What can be said of the faults that were over before the next one began."""
    if not alone:
        return f"{0:>5} {'-':>11} {'-':>8} {'-':>13} {'-':>8}"
    after = [level.after for level in alone]
    latest = max(level.latest for level in alone)
    seen = f"{latest:.1f} s" if latest else f"< {LATE:g} s"
    breaks = sum(level.breaks for level in alone)
    return f"{len(alone):>5} {statistics.median(after):>11.1f} {max(after):>8.1f} {seen:>13} {breaks:>8}"
