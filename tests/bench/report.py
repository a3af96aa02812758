"""What is printed of a workload: a table with ours as a multiple of each peer, then each target."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.bench.judge import OURS, Outcome, Workload, judge, medians
from tests.bench.load import Sample


@dataclass
class Result:
    """What was measured. `rows` are the medians; `flaws` are measurements that do not count."""

    rounds: int
    samples: dict[str, list[Sample]]
    seconds: float = 0.0
    flaws: list[str] = field(default_factory=list)
    rows: dict[str, Sample] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    def judge(self, workload: Workload) -> None:
        """Make the medians and compare them with the targets."""
        self.rows = {name: medians(samples) for name, samples in self.samples.items()}
        self.outcomes = judge(workload, self.rows)

    def as_json(self) -> dict[str, Any]:
        """Everything but the single rounds."""
        outcomes = [outcome._asdict() for outcome in self.outcomes]
        return {"rounds": self.rounds, "rows": self.rows, "targets": outcomes, "flaws": self.flaws}


def table(workload: Workload, result: Result) -> Iterator[str]:
    """Its lines."""
    yield f"{workload.name} {workload.title} (medians of {result.rounds}, {result.seconds:.0f} s)"
    yield f"{'':16}" + "".join(f" {column.title:>14}  ours is" for column in workload.columns)
    for name, row in result.rows.items():
        yield f"{name:16}" + "".join(_cells(column.key, column.form, row, result.rows) for column in workload.columns)
    for outcome in result.outcomes:
        reached = "not measured" if outcome.reached is None else f"{outcome.reached:,.2f}"
        yield f"  {'met' if outcome.met else 'NOT MET':8} {outcome.text}: {reached}"
    yield from (f"  FLAWED   {flaw}" for flaw in result.flaws)
    yield ""


def _cells(key: str, form: str, row: Sample, rows: dict[str, Sample]) -> str:
    mine, its = rows.get(OURS, {}).get(key), row.get(key)
    shown = "-" if its is None else f"{its:{form}}"
    times = f"{mine / its:.2f} x" if mine is not None and its and row is not rows[OURS] else ""
    return f" {shown:>14} {times:>8}"
