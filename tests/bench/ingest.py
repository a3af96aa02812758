"""W6: what one producer gets stored, beside a Tornado that decodes and answers the same and stores nothing."""

import http.client
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.fan_out import OUTSTANDING
from tests.bench.judge import OURS, Column, Measure, Target, Workload
from tests.bench.load import Flawed, Sample, publish
from tests.bench.peers import Ours, Peer, Tornado, cores
from tests.chaos import parts
from tests.chaos.fleet import postgres_url
from tests.running import running

ONE_BY_ONE = 2_000
SINGLE = 8_000
BATCHED = 200_000
BATCH = 100


class Postgres(parts.Postgres):
    """As it comes, so that a commit is on the disk; on the core of the load, where another machine would be."""

    def command(self) -> Sequence[str]:
        return ["taskset", "-c", cores()[1], *super().command()]


def ingest(make: Callable[[Path], Peer]) -> Measure:
    """Posts of one event, on one connection and on many, and of a batch."""

    def measure(folder: Path) -> Sample:
        with running(make(folder)) as peer:
            return _measure(peer)

    return measure


def on_postgres(folder: Path) -> Sample:
    """Ours, with a new database."""
    folder.chmod(0o755)  # as root its user is another
    with ExitStack() as stack:
        postgres = stack.enter_context(running(Postgres("postgres", folder)))
        database = ("--database", postgres_url(postgres.port))
        return _measure(stack.enter_context(running(Ours(folder, *database))))


def _measure(peer: Peer) -> Sample:
    peer.make_runs(1)
    waiting = publish(peer, events=ONE_BY_ONE)
    single = publish(peer, events=SINGLE, conns=OUTSTANDING)
    batched = publish(peer, events=BATCHED, batch=BATCH, conns=OUTSTANDING)
    if isinstance(peer, Ours):
        _check_stored(peer, ONE_BY_ONE + SINGLE + BATCHED)
    return {
        "waiting": waiting["published"],
        "single": single["published"],
        "batched": batched["published"],
        "answer_p50": waiting["answer_p50"],
        "answer_p99": waiting["answer_p99"],
    }


def _check_stored(peer: Ours, events: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=60)
    connection.request("GET", f"{peer.stream.replace('{i}', '0')}?limit=1", headers={"Accept": "application/json"})
    head = json.loads(connection.getresponse().read())["head"]
    connection.close()
    if head != events:
        raise Flawed(f"{head:,} of {events:,} events are stored")


W6 = Workload(
    "W6",
    f"ingest: events of 200 B on {OUTSTANDING} connections, one a POST or {BATCH}, each answered after its commit",
    (
        Column("single", "single/s"),
        Column("batched", "batched/s"),
        Column("waiting", "1 connection/s"),
        Column("answer_p50", "its p50 ms", ",.2f"),
        Column("answer_p99", "its p99 ms", ",.2f"),
    ),
    {OURS: ingest(Ours), "ours, PostgreSQL": on_postgres, "Tornado": ingest(Tornado)},
    (
        Target("single", 0.8, of="Tornado", least=True),
        Target("single", 0.8, of="Tornado", row="ours, PostgreSQL", least=True),
        Target("batched", 0.4, of="Tornado", least=True),
    ),
)
