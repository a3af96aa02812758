"""W7: published to one instance, watched on another, Redis between them; all of it on the servers' core."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.fan_out import OUTSTANDING, SPEED, VIEWERS
from tests.bench.judge import OURS, Column, Measure, Target, Workload
from tests.bench.load import Sample, publisher, view
from tests.bench.peers import Original, Ours, Peer, cores
from tests.chaos import parts
from tests.running import running

RATE = 20  # events a second
SECONDS = 3
Make = Callable[[Path, str], Peer]  # with a folder and the URL of a Redis


class Redis(parts.Redis):
    """On the servers' core."""

    def command(self) -> Sequence[str]:
        return ["taskset", "-c", cores()[0], *super().command()]


def _ours(folder: Path, redis_url: str) -> Peer:
    return Ours(folder, "--redis-url", redis_url)


@contextmanager
def _two(make: Make, folder: Path) -> Iterator[tuple[Peer, Peer]]:
    """Instances with one database and one Redis."""
    with ExitStack() as stack:
        redis = stack.enter_context(running(Redis("redis", folder)))
        url = f"redis://127.0.0.1:{redis.port}/0"
        near, far = (stack.enter_context(running(make(folder, url))) for _ in range(2))
        near.make_runs(1)
        yield near, far


def relay(make: Make, events: int, viewers: int) -> Measure:
    """Posted to the one flat out, seen on the other."""

    def measure(folder: Path) -> Sample:
        with _two(make, folder) as (near, far):
            post = publisher(near, events=events, conns=OUTSTANDING)
            return view(far, viewers=viewers, events=events, post=post, any_order="")

    return measure


def later(folder: Path) -> Sample:
    """How much later a viewer of the other instance has an event than one of the publisher's own would."""
    events = RATE * SECONDS
    with _two(_ours, folder) as (near, far):
        post = publisher(near, events=events, rate=RATE)
        local = view(near, viewers=VIEWERS, events=events, post=post)
        relayed = view(far, viewers=VIEWERS, events=events, post=post)
    return {"local": local["p99"], "relayed": relayed["p99"], "later": relayed["p99"] - local["p99"]}


def _relay(viewers: int, events: int, bound: float) -> Workload:
    return Workload(
        f"W7/{viewers}",
        f"relay: {events:,} events of 200 B, one a POST, flat out, to {viewers:,} viewers of another instance",
        SPEED,
        {OURS: relay(_ours, events, viewers), "original": relay(Original, events, viewers)},
        (Target("through", bound, of="original", least=True),),
    )


W7 = (
    _relay(1, 5000, 1),
    _relay(VIEWERS, 300, 5),
    Workload(
        "W7/paced",
        f"relay: {RATE} events a second to {VIEWERS:,} viewers of another instance, beside viewers of the same",
        (
            Column("local", "local p99 ms", ",.2f"),
            Column("relayed", "relayed p99 ms", ",.2f"),
            Column("later", "later ms", ",.2f"),
        ),
        {OURS: later},
        (Target("later", 2),),
    ),
)
