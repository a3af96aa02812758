"""W1, W2, W3 and W9b: one event and many viewers, and how soon they have it."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.judge import OURS, Column, Measure, Target, Workload
from tests.bench.load import Sample, publisher, view
from tests.bench.peers import (
    HERE,
    Aiohttp,
    Floor,
    JoiningFloor,
    Nchan,
    Original,
    Ours,
    Peer,
    Starlette,
    Tornado,
    cores,
)
from tests.running import running

VIEWERS = 1000
COMMIT = "commit alone"
OUTSTANDING = 32  # requests of publishers that post flat out
SPEED = (Column("through", "deliveries/s"), Column("p99", "p99 ms", ",.1f"))
COST = Column("cpu_us", "CPU us each", ",.2f")
SOON = (Column("p50", "p50 ms", ",.2f"), Column("p99", "p99 ms", ",.2f"))


def burst(
    make: Callable[[Path], Peer], events: int, batch: int = 1, viewers: int = VIEWERS, pipelined: bool = False
) -> Measure:
    """Posted flat out: on many connections as HTTP clients do, or on one that does not wait for answers."""
    way = {"depth": OUTSTANDING} if pipelined else {"conns": OUTSTANDING}
    check = {} if pipelined else {"any_order": ""}

    def measure(folder: Path) -> Sample:
        with running(make(folder)) as peer:
            peer.make_runs(1)
            post = publisher(peer, events=events, batch=batch, **way)
            return view(peer, viewers=viewers, events=events, post=post, **check)

    return measure


def paced(make: Callable[[Path], Peer], rate: int, seconds: float, viewers: int = VIEWERS, runs: int = 1) -> Measure:
    """So many events a second in all, the runs in turn; ten of them share a publisher's connection."""

    def measure(folder: Path) -> Sample:
        each = round(rate * seconds / runs)
        with running(make(folder)) as peer:
            peer.make_runs(runs)
            post = publisher(peer, events=each * runs, rate=rate, runs=runs, conns=max(1, runs // 10))
            return view(peer, viewers=viewers, events=each, post=post, runs=runs, step=runs)

    return measure


def commits(rate: int, seconds: int, viewers: int, runs: int = 1) -> Measure:
    """So many transactions a second on the servers' core and disk, which ours waits for and nobody else does. Each is
    for one event to `viewers`."""

    def measure(folder: Path) -> Sample:
        program = ["taskset", "-c", cores()[0], sys.executable, str(HERE / "commits.py")]
        words = [str(folder / "commits.db"), str(rate), str(seconds), str(runs)]
        done = subprocess.run([*program, *words], capture_output=True, check=True, text=True)
        took = json.loads(done.stdout)
        return {**took, "cpu_us": took["cpu_us"] / viewers}

    return measure


def no_worse(keys: Sequence[str], of: str, bound: float = 1) -> list[Target]:
    """Each of these numbers is at most `bound` times that of another row."""
    return [Target(key, bound, of=of) for key in keys]


W1 = Workload(
    "W1",
    f"burst: 300 events of 200 B, one a POST, flat out, to {VIEWERS:,} viewers",
    (*SPEED, COST),
    {
        OURS: burst(Ours, 300),
        "nchan": burst(Nchan, 300),
        "original": burst(Original, 300),
        "sse-starlette": burst(Starlette, 300),
        "aiohttp-sse": burst(Aiohttp, 300),
        "Tornado": burst(Tornado, 300),
        "C send loop": burst(Floor, 300),
        "C loop joining": burst(JoiningFloor, 300, pipelined=True),
        "ours in 1 pipe": burst(Ours, 300, pipelined=True),
        "nchan in 1 pipe": burst(Nchan, 300, pipelined=True),
    },
    (
        Target("through", 6, of="nchan", least=True),
        Target("through", 15, of="original", least=True),
        Target("through", 40, of="sse-starlette", least=True),
        Target("p99", 1, of="nchan"),
    ),
)
W2 = Workload(
    "W2",
    f"burst, batched: 3,000 events of 200 B to {VIEWERS:,} viewers; NDJSON posts of 100, nchan one a POST",
    (*SPEED, COST),
    {
        OURS: burst(Ours, 3000, batch=100),
        "nchan": burst(Nchan, 3000),
        "C loop joining": burst(JoiningFloor, 3000, pipelined=True),
    },
    (Target("through", 10, of="nchan", least=True),),
)


def _paced(name: str, rate: int) -> Workload:
    peers = {"nchan": Nchan, "original": Original, "C send loop": Floor}
    if rate == 20:  # the others cannot keep up with more
        peers |= {"sse-starlette": Starlette, "aiohttp-sse": Aiohttp, "Tornado": Tornado}
    rows = {OURS: paced(Ours, rate, 3)} | {peer: paced(make, rate, 3) for peer, make in peers.items()}
    return Workload(
        name,
        f"paced: {rate} events a second, 200 B, to {VIEWERS:,} viewers",
        (*SOON, COST),
        rows | {COMMIT: commits(rate, 3, VIEWERS)},
        (*no_worse(("p50", "p99"), "nchan"), *no_worse(("p50", "p99"), "original", 1 / 3)),
    )


W3 = (_paced("W3/20", 20), _paced("W3/100", 100))

PEERS = {"nchan": Nchan, "original": Original, "sse-starlette": Starlette, "aiohttp-sse": Aiohttp, "Tornado": Tornado}


def _few(name: str, title: str, rate: int, viewers: int, runs: int) -> Workload:
    peers: dict[str, Callable[[Path], Peer]] = {OURS: Ours, **PEERS}
    rows = {peer: paced(make, rate, 3, viewers, runs) for peer, make in peers.items()}
    rows[COMMIT] = commits(rate, 3, viewers // runs, runs)
    ahead = [target for peer in PEERS if peer != "nchan" for target in no_worse(("p50", "p99"), peer)]
    return Workload(
        name,
        title,
        (*SOON, COST),
        rows,
        (*ahead, Target("p99", 4, of="nchan")),
    )


W9B = (
    _few("W9b/runs", "few viewers: 200 runs with 5 each, 2,000 events a second in all", 2000, 1000, 200),
    _few("W9b/one", "one viewer, 500 events a second", 500, 1, 1),
)
