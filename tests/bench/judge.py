"""What a workload is, the medians of its rounds, and whether they are what we aim at."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.bench.load import Sample

OURS = "ours"
Measure = Callable[[Path], Sample]  # in an empty folder of its own


class Column(NamedTuple):
    """A number of the samples that is shown, as `form` formats it."""

    key: str
    title: str
    form: str = ",.0f"


class Target(NamedTuple):
    """What the number `key` of `row` must be: itself, or as a multiple of that of the row `of`."""

    key: str
    bound: float
    of: str | None = None
    row: str = OURS
    least: bool = False


class Outcome(NamedTuple):
    """A target, what was reached, and whether that is enough. None: there is nothing to compare."""

    text: str
    reached: float | None
    met: bool


@dataclass(frozen=True)
class Workload:
    """`rows` are who is measured, by name, `rounds` times, or `quick`."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Mapping[str, Measure]
    targets: Sequence[Target]
    rounds: int = 5
    quick: int = 3


def medians(samples: Sequence[Sample]) -> Sample:
    """Number by number; nothing of nobody."""
    return {key: statistics.median(sample[key] for sample in samples) for key in (samples[0] if samples else {})}


def judge(workload: Workload, rows: Mapping[str, Sample]) -> list[Outcome]:
    """Every target of the workload, with what the rows' medians say."""
    return [_outcome(workload, target, rows) for target in workload.targets]


def _outcome(workload: Workload, target: Target, rows: Mapping[str, Sample]) -> Outcome:
    column = next(column for column in workload.columns if column.key == target.key)
    bound = f"{'at least' if target.least else 'at most'} {target.bound:g}"
    text = f"{target.row}, {column.title}: {bound}"
    reached = rows.get(target.row, {}).get(target.key)
    if target.of is not None:
        text += f" x {target.of}"
        other = rows.get(target.of, {}).get(target.key)
        reached = reached / other if reached is not None and other else None
    if reached is None:
        return Outcome(text, None, False)
    return Outcome(text, reached, reached >= target.bound if target.least else reached <= target.bound)
