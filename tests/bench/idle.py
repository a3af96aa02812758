"""W5 and W9: streams on which nothing happens, and streams that begin."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.judge import OURS, Column, Measure, Target, Workload
from tests.bench.load import Flawed, Sample, processor, publisher, view, viewing
from tests.bench.peers import Aiohttp, Nchan, Original, Ours, Peer, Starlette, Tornado
from tests.running import running

STREAMS = 19_000  # with the rest, less than the 20,000 files that a process may often have
RUNS = 2  # that they watch: ours lets 10,000 watch one, unless it is told otherwise
HEARTBEAT = 5  # seconds
QUIET = 2 * HEARTBEAT
PROBES = 200  # events a second
NEWCOMERS = 3000


def idle(make: Callable[[Path], Peer], streams: int = STREAMS) -> Measure:
    """What idle streams take, and what their heartbeats do to the event of somebody else."""

    def measure(folder: Path) -> Sample:
        with running(make(folder)) as peer:
            peer.make_runs(RUNS + 1)
            ready = folder / "ready"
            others = viewing(peer, viewers=streams, runs=RUNS, hold=2 * QUIET + 1, ready_file=ready, inflight=256)
            with others as idlers:
                _await(ready, idlers)
                before = processor(peer.pid)
                time.sleep(QUIET)
                used = processor(peer.pid) - before
                post = publisher(peer, events=PROBES * QUIET, rate=PROBES, type="frame", path=_another(peer.publish))
                probe = view(peer, viewers=1, events=PROBES * QUIET, post=post, path=_another(peer.stream))
            sample = others.sample
            if sample["comments"] < 3 * streams:
                raise Flawed(f"{sample['comments']:,.0f} heartbeats, of four for each stream")
            return {
                "kilobytes": (sample["server_rss_mb"] - sample["server_rss_start_mb"]) * 1024 / streams,
                "processor": 100 * used / QUIET,
                "stall": probe["max"],
                "p99": probe["p99"],
            }

    return measure


def _another(path: str) -> str:
    """The run beside those that all others watch."""
    return path.replace("{i}", str(RUNS))


def _await(ready: Path, load: "subprocess.Popen[str]") -> None:
    while not ready.exists():
        if load.poll() is not None:
            raise Flawed("not all streams could be opened")
        time.sleep(0.05)


def begin(make: Callable[[Path], Peer], runs: int = 1, streams: int = NEWCOMERS) -> Measure:
    """New streams, 64 at a time, each until it has its snapshot."""

    def measure(folder: Path) -> Sample:
        with running(make(folder)) as peer:
            peer.make_runs(runs)
            return view(peer, viewers=streams, events=0, runs=runs, hold=0.1)

    return measure


W5 = Workload(
    "W5",
    f"idle: {STREAMS:,} streams with a heartbeat every {HEARTBEAT} s",
    (
        Column("kilobytes", "KB a stream", ",.2f"),
        Column("processor", "% of a core", ",.2f"),
        Column("stall", "latest event ms", ",.1f"),
        Column("p99", "p99 ms", ",.2f"),
    ),
    {OURS: idle(Ours), "nchan": idle(Nchan), "original": idle(Original), "sse-starlette": idle(Starlette)},
    (
        Target("kilobytes", 1 / 3, of="nchan"),
        Target("kilobytes", 1 / 10, of="sse-starlette"),
        Target("processor", 1, of="nchan"),
        Target("stall", 10),
    ),
    rounds=3,
    quick=1,
)
PEERS = {"original": Original, "sse-starlette": Starlette, "aiohttp-sse": Aiohttp, "Tornado": Tornado}
W9 = Workload(
    "W9",
    f"connects: {NEWCOMERS:,} new streams, 64 at a time, each with a snapshot; nchan without",
    (Column("conns_per_s", "new streams/s"),),
    {
        OURS: begin(Ours),
        "ours, 100 runs": begin(Ours, 100),
        "nchan": begin(Nchan),
        **{peer: begin(make) for peer, make in PEERS.items()},
    },
    [Target("conns_per_s", 1, of=peer, least=True) for peer in PEERS],
)
