"""W4: large frames, and what viewers that read slowly do to the others and to the server's memory."""

from collections.abc import Callable
from pathlib import Path

from tests.bench.judge import OURS, Column, Measure, Target, Workload
from tests.bench.load import Sample, publisher, view
from tests.bench.peers import Nchan, Original, Ours, Peer
from tests.running import running

FRAMES = 100
SIZE = 80_000
RATE = 7
FAST = 180
SLOW = 20
SLOWLY = 50_000  # bytes a second, of the 560,000 that are sent
BUFFER = 64 << 10  # of a slow viewer's kernel, which takes a lot otherwise


def frames(make: Callable[[Path], Peer], slow: int = SLOW) -> Measure:
    """Volatile events: who is behind may miss some, never get an older one after a newer one."""

    def measure(folder: Path) -> Sample:
        with running(make(folder)) as peer:
            peer.make_runs(1)
            post = publisher(peer, events=FRAMES, size=SIZE, rate=RATE, type="frame")
            options = {"slow": slow, "slow_rate": SLOWLY, "rcvbuf": BUFFER} if slow else {}
            seen = view(peer, viewers=FAST + slow, events=FRAMES, post=post, **options)
            return seen | {"grown": seen["server_rss_end_mb"] - seen["server_rss_mb"]}

    return measure


W4 = Workload(
    "W4",
    f"large: {FRAMES} frames of 80 KB, {RATE} a second, to {FAST} viewers, and to {SLOW} more that read slowly",
    (
        Column("p50", "p50 ms", ",.2f"),
        Column("p99", "p99 ms", ",.2f"),
        Column("grown", "memory grown MB", ",.1f"),
        Column("slow_events", "frames of slow"),
    ),
    {
        OURS: frames(Ours),
        "ours, none slow": frames(Ours, slow=0),
        "nchan": frames(Nchan),
        "original": frames(Original),
    },
    (Target("p99", 1.25, of="ours, none slow"), Target("grown", 8)),
    rounds=3,
    quick=1,
)
