"""The results in docs/performance.md, between two marks: what was not better first, then a table for each workload."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.judge import OURS, Column, Workload
from tests.chaos.parts import ROOT

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
Kept = Mapping[str, Any]  # of one workload, as `--json` wrote it


def write(results: Mapping[str, Kept], workloads: Sequence[Workload], page: Path = PAGE) -> None:
    """Put the results of those workloads that were measured where the old ones are."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = [(workload, results[workload.name]) for workload in workloads if workload.name in results]
    text = "\n".join(_lines(measured))
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _lines(measured: Sequence[tuple[Workload, Kept]]) -> Iterator[str]:
    yield from _where([kept for _, kept in measured])
    missed = [(workload, target) for workload, kept in measured for target in kept["targets"] if not target["met"]]
    of = sum(len(kept["targets"]) for _, kept in measured)
    yield f"{of - len(missed)} of {of} targets were met.{' These were not:' if missed else ''}"
    yield ""
    yield from (f"- {workload.name} {_sentence(target)}" for workload, target in missed)
    for workload, kept in measured:
        yield ""
        yield f"### {workload.name}"
        yield ""
        yield f"{workload.title[0].upper()}{workload.title[1:]}. Medians of {kept['rounds']}."
        yield ""
        yield "| | " + " | ".join(column.title for column in workload.columns) + " |"
        yield "|---|" + "---:|" * len(workload.columns)
        for name in kept["rows"]:
            yield f"| {name} | " + " | ".join(_cell(column, name, kept["rows"]) for column in workload.columns) + " |"
        yield ""
        yield from (f"- {'met' if target['met'] else '**not met**'}: {_sentence(target)}" for target in kept["targets"])
        yield from (f"- did not count: {flaw}" for flaw in kept["flaws"])


def _where(kept: Sequence[Kept]) -> Iterator[str]:
    """The machine, once; results may be of several days and commands."""
    machine = kept[0]["machine"] if kept else {}
    dates = sorted({one["machine"]["date"] for one in kept})
    commands = sorted({f"`scripts/bench {one['command']}`" for one in kept})
    yield f"{', '.join(dates)}: {', '.join(commands)}"
    yield ""
    yield from (f"- {name}: {value}" for name, value in machine.items() if name != "date" and value)
    yield ""


def _cell(column: Column, name: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    its, mine = rows[name].get(column.key), rows.get(OURS, {}).get(column.key)
    if its is None:
        return ""
    times = f" ({mine / its:.2f} x)" if mine is not None and its and name != OURS else ""
    return f"{its:{column.form}}{times}"


def _sentence(target: Mapping[str, Any]) -> str:
    reached = "not measured" if target["reached"] is None else f"{target['reached']:,.2f}"
    return f"{target['text']}; it was {reached}"
