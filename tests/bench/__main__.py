"""`scripts/bench`: measures ours beside its peers and says whether it is as fast as we want it."""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import kit
from tests.bench.judge import Workload
from tests.bench.load import Flawed, Sample
from tests.bench.machine import machine
from tests.bench.page import write
from tests.bench.report import Result, table
from tests.bench.workloads import WORKLOADS
from tests.chaos.parts import PartError


def say(line: str) -> None:
    """At once, also where nobody reads along."""
    print(line, flush=True)  # noqa: T201  what a script is for


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 if every target was met."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", metavar="W1,W3", help="these workloads; W3/20 is a part of W3")
    parser.add_argument("--quick", action="store_true", help="3 rounds in place of 5")
    parser.add_argument("--rounds", type=int, help="so many rounds")
    parser.add_argument("--rows", metavar="ours,nchan", help="measure only these; ours alone has nothing to meet")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the results to this file, or make it")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write its results into docs/performance.md instead")
    options = parser.parse_args(arguments)
    if options.page:
        write(json.loads(options.page.read_text()), WORKLOADS)
        return 0
    chosen = list(_chosen(options.only.split(",") if options.only else []))
    if not chosen:
        parser.error(f"there are {', '.join(workload.name for workload in WORKLOADS)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    rows = options.rows.split(",") if options.rows else None
    kept = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    command = " ".join(word for word in sys.argv[1:] if word not in ("--json", str(options.json)))
    met = True
    try:
        for workload in chosen:
            rounds = options.rounds or (workload.quick if options.quick else workload.rounds)
            result = measure(workload, rounds, rows)
            for line in table(workload, result):
                say(line)
            met = met and all(outcome.met for outcome in result.outcomes)
            if options.json:
                kept[workload.name] = result.as_json() | {"machine": machine(), "command": command}
                options.json.write_text(json.dumps(kept, indent=1) + "\n")
    except PartError as error:
        parser.exit(2, f"scripts/bench: {error}\n")
    return 0 if met else 1


def measure(workload: Workload, rounds: int, rows: Sequence[str] | None = None) -> Result:
    """All rows in turn, each round in another order; what is flawed does not count, and is told."""
    result = Result(rounds, {name: [] for name in workload.rows if rows is None or name in rows})
    begun = time.monotonic()
    for turn in range(result.rounds):
        for name in sorted(result.samples, reverse=turn % 2 == 1):
            try:
                result.samples[name].append(_in_a_folder(workload, name))
            except Flawed as flaw:
                result.flaws.append(f"{name}: {flaw}")
    result.seconds = time.monotonic() - begun
    result.judge(workload)
    return result


def _in_a_folder(workload: Workload, row: str) -> Sample:
    kit.FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kit.FOLDER, prefix="run-") as folder:  # on a real disk, as a clone is
        return workload.rows[row](Path(folder))


def _chosen(names: Sequence[str]) -> Iterator[Workload]:
    for workload in WORKLOADS:
        if not names or workload.name in names or workload.name.partition("/")[0] in names:
            yield workload


if __name__ == "__main__":
    sys.exit(main())
