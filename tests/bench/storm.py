"""W8: everybody comes back at once, to a server that has just been started again and has nothing in memory."""

from pathlib import Path

from tests.bench.judge import OURS, Column, Target, Workload
from tests.bench.load import Sample, publish, view
from tests.bench.peers import Original, Ours
from tests.bench.running import running

VIEWERS = 2000
SEEN = 20
BEHIND = 500
BATCH = 20


def ours(folder: Path) -> Sample:
    """Each gets what it lacks. What is read from the database is counted apart, for that takes time itself."""
    with running(Ours(folder)) as server:
        server.make_runs(1)
        publish(server, events=SEEN + BEHIND, batch=BATCH)
    with running(Ours(folder)) as server:
        seconds = _return(server)
    trace = folder / "statements"
    with running(Ours(folder, module=("tests.bench.tracing", str(trace)))) as server:
        before = _reads(trace)
        _return(server)
        return {"seconds": seconds, "reads": _reads(trace) - before}


def _return(server: Ours) -> float:
    header = f"Last-Event-ID: {SEEN}"
    return view(server, viewers=VIEWERS, events=0, warm=BEHIND, inflight=VIEWERS, header=header, hold=0.1)["connect_s"]


def _reads(trace: Path) -> int:
    """Read transactions; each sees one moment, and is on one of the few connections."""
    return trace.read_text().splitlines().count("BEGIN DEFERRED")


def original(folder: Path) -> Sample:
    """Each gets a snapshot with as many lines as ours sends events. It was not started again: it would have none."""
    with running(Original(folder)) as server:
        publish(server, events=BEHIND)
        return {"seconds": view(server, viewers=VIEWERS, events=0, inflight=VIEWERS, hold=0.1)["connect_s"]}


W8 = Workload(
    "W8",
    f"storm: {VIEWERS:,} viewers of one run come back at once, each {BEHIND} events behind",
    (Column("seconds", "s until level", ",.2f"), Column("reads", "database reads")),
    {OURS: ours, "original": original},
    (Target("seconds", 1 / 3, of="original"), Target("reads", 3)),
)
