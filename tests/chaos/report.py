"""The table that a campaign ends with."""

import statistics
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
    yield f"{'':34} {'':>5} {'seconds until all are level':>29} {'oldest event':>13}"
    yield f"{'fault':34} {'times':>5} {'median':>20} {'worst':>8} {'seen':>13}"
    found = levels(record)
    for kind in sorted({level.kind for level in found}):
        yield _row(kind, [level for level in found if level.kind == kind])
    yield ""
    for finding in verdict.findings[:SHOWN]:
        yield f"- {finding}"
    if len(verdict.findings) > SHOWN:
        yield f"- and {len(verdict.findings) - SHOWN} more"
    yield "sound: nothing lost, nothing twice, nothing out of order" if verdict.sound else "NOT SOUND"


def _row(kind: str, levels: Sequence[Level]) -> str:
    after = [level.after for level in levels if level.after is not None]
    latest = max((level.latest for level in levels if level.latest is not None), default=0.0)
    row = f"{kind:34} {len(levels):>5}"
    if not after:
        return f"{row} {'-':>20} {'-':>8} {'-':>13}"
    oldest = f"{latest:.1f} s" if latest else f"< {LATE:g} s"
    return f"{row} {statistics.median(after):>20.1f} {max(after):>8.1f} {oldest:>13}"
