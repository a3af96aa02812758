"""W10: what one event costs in a small database, in a run of a million events, and among a hundred thousand runs."""

import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path

from tests.bench import kit
from tests.bench.fan_out import OUTSTANDING
from tests.bench.judge import Column, Measure, Target, Workload
from tests.bench.load import Sample, processor, publish
from tests.bench.peers import Ours
from tests.running import running

FEW = 1000
MANY = 1_000_000
RUNS = 100_000
EVENTS = 4000
VALUE = re.compile(r"'(?:[^']|'')*'|\b\d+\b")
PLAIN = "small"


@cache
def _database(events: int, runs: int) -> tempfile.TemporaryDirectory[str]:
    """A folder with a database; it lasts as long as the program, for all rounds use it."""
    folder = tempfile.TemporaryDirectory(dir=kit.FOLDER, prefix="size-")
    with running(Ours(Path(folder.name))) as server:
        server.make_runs(1)
        publish(server, events=events, batch=1000, conns=4)
    if runs > 1:
        _copy_runs(Path(folder.name) / "events.db", runs)
    return folder


def _copy_runs(file: Path, number: int) -> None:
    """The run once more, with another id and one event each: what the server would have written."""
    with closing(sqlite3.connect(file)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(run)")]
        new = {"id": "'copy' || n", "number": "n + 1000", "head": "1"}
        values = ", ".join(new.get(column, f'"{column}"') for column in columns)
        numbers = f"WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {number})"
        database.execute(f"{numbers} INSERT INTO run SELECT {values} FROM run, counted WHERE id = 'b0'")
        one = "SELECT 'copy' || n, 1, at, type, json FROM event, counted WHERE run = 'b0' AND seq = 1"
        database.execute(f"{numbers} INSERT INTO event (run, seq, at, type, json) {one}")


def cost(events: int = FEW, runs: int = 1) -> Measure:
    """Of single events on many connections; and which statements one event takes, and how they find their rows."""

    def measure(folder: Path) -> Sample:
        there = Path(_database(events, runs).name)
        with running(Ours(there)) as server:
            publish(server, events=500, conns=OUTSTANDING)
            before = processor(server.pid)
            sample = publish(server, events=EVENTS, conns=OUTSTANDING)
            used = processor(server.pid) - before
        statements = _statements(there)
        plans = _plans(there / "events.db", statements)
        return {
            "microseconds": used * 1e6 / EVENTS,
            "published": sample["published"],
            "statements": sum(statements.values()),
            "kinds": len(statements),
            "scans": sum(plan.startswith("SCAN") for plan in plans),
        }

    return measure


def _statements(folder: Path) -> Counter[str]:
    """Those of one event, values left out."""
    trace = folder / "statements"
    trace.write_text("")
    with running(Ours(folder, module=("tests.bench.tracing", str(trace)))) as server:
        publish(server, events=1)
        trace.write_text("")
        publish(server, events=1)
        found = trace.read_text().splitlines()
    return Counter(VALUE.sub("?", line) for line in found)


def _plans(file: Path, statements: Counter[str]) -> list[str]:
    """How SQLite finds the rows of each statement."""
    plans: list[str] = []
    with closing(sqlite3.connect(file)) as database:
        for statement in statements:
            if statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
                rows = database.execute(f"EXPLAIN QUERY PLAN {statement}", (None,) * statement.count("?"))
                plans += [row[3] for row in rows]
    return plans


ROWS: dict[str, Callable[[Path], Sample]] = {
    PLAIN: cost(),
    f"{MANY:,} events": cost(events=MANY),
    f"{RUNS:,} runs": cost(runs=RUNS),
}
GROWN = [name for name in ROWS if name != PLAIN]
W10 = Workload(
    "W10",
    "size: one event of 200 B a POST, as the run and the number of runs grow",
    (
        Column("microseconds", "CPU us an event"),
        Column("published", "events/s"),
        Column("statements", "statements"),
        Column("kinds", "different"),
        Column("scans", "without index"),
    ),
    ROWS,
    [
        target
        for name in GROWN
        for target in (
            Target("microseconds", 1.25, of=PLAIN, row=name),
            Target("statements", 1, of=PLAIN, row=name),
            Target("scans", 0, row=name),
        )
    ],
    rounds=3,
)
