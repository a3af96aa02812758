"""W8: everybody comes back at once, to a server that has just been started again and has nothing in memory."""

from pathlib import Path

from tests.bench.judge import OURS, Column, Measure, Target, Workload
from tests.bench.load import Sample, publish, view
from tests.bench.peers import Original, Ours
from tests.running import running
from tests.server_process import wait_until

VIEWERS = 2000
EVENTS = 2000
BEHIND = 500
BATCH = 100


def ours(folder: Path) -> Sample:
    """Each gets what it lacks. What is read from the database is counted apart, for that takes time itself."""
    with running(Ours(folder)) as server:
        server.make_runs(1)
        publish(server, events=EVENTS, batch=BATCH)
    with running(Ours(folder)) as server:
        seconds = _return(server)
    trace = folder / "statements"
    with running(Ours(folder, module=("tests.bench.tracing", str(trace)))) as server:
        wait_until(lambda: "heard_at <" in trace.read_text(), "the reaper has looked, as it does after every start")
        before = _reads(trace)
        _return(server)
        return {"seconds": seconds, "reads": _reads(trace) - before}


def _return(server: Ours) -> float:
    header = f"Last-Event-ID: {EVENTS - BEHIND}"
    return view(server, viewers=VIEWERS, events=0, warm=BEHIND, inflight=VIEWERS, header=header, hold=0.1)["connect_s"]


def _reads(trace: Path) -> int:
    """Read transactions; each sees one moment, and is on one of the few connections."""
    return trace.read_text().splitlines().count("BEGIN DEFERRED")


def original(lines: int) -> Measure:
    """Each gets a snapshot, which is the whole run. The server was not started again: it would have none."""

    def measure(folder: Path) -> Sample:
        with running(Original(folder)) as server:
            publish(server, events=lines)
            return {"seconds": view(server, viewers=VIEWERS, events=0, inflight=VIEWERS, hold=0.1)["connect_s"]}

    return measure


W8 = Workload(
    "W8",
    f"storm: {VIEWERS:,} viewers of a run of {EVENTS:,} events come back at once, each {BEHIND} behind",
    (Column("seconds", "s until level", ",.2f"), Column("reads", "database reads")),
    {OURS: ours, "original": original(EVENTS), "original, 500": original(BEHIND)},
    (Target("seconds", 1 / 3, of="original"), Target("reads", 3)),
)
