"""W14: one viewer that reads nothing beside a hundred that read everything, while 100 MB go by."""

import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from sentri_events.sse import Parser
from tests.bench.judge import OURS, Column, Measure, Target, Workload
from tests.bench.load import PATIENCE, Flawed, Sample, publisher, view
from tests.bench.peers import Ours
from tests.running import running

FAST = 100
SIZE = 100_000
EVENTS = 1000
RATE = 12  # a second: longer than a viewer may take nothing, by default
LOOK = 0.02  # seconds between two looks at the memory


def beside(sleepers: int) -> Measure:
    """Durable events to viewers that read all, and to `sleepers` who are cut in the meantime and come back for them."""

    def measure(folder: Path) -> Sample:
        with running(Ours(folder)) as peer, ThreadPoolExecutor(sleepers or 1) as pool:
            peer.make_runs(1)
            path = peer.stream.format(i=0)
            post = publisher(peer, events=EVENTS, size=SIZE, rate=RATE)
            with memory(peer.pid) as seen:
                cut = [pool.submit(sleep, peer.port, path) for _ in range(sleepers)]
                sample = view(peer, viewers=FAST, events=EVENTS, post=post)
                for one in cut:
                    sample["cut"] = one.result(PATIENCE)
                    sample["back"], sample["took"] = come_back(peer.port, path)
            return sample | {"before": seen[0], "peak": max(seen), "after": seen[-1]}

    return measure


def sleep(port: int, path: str) -> float:
    """Open a stream and read nothing of it; returns how many seconds later it was cut."""
    with closing(_opened(port, path)) as stream:
        began = time.monotonic()
        cut = select.poll()
        cut.register(stream, 0)
        if not cut.poll(PATIENCE * 1000):
            raise Flawed("who reads nothing was not cut")
        return time.monotonic() - began


def come_back(port: int, path: str) -> tuple[float, float]:
    """All that was missed, in order: how many events, and the seconds that it took to read them."""
    parser, seqs = Parser(), list[int]()
    began = time.monotonic()
    with closing(_opened(port, f"{path}?lastEventId=0")) as stream:
        while len(seqs) < EVENTS and (data := stream.recv(1 << 20)):
            # The lines of the head are fields that mean nothing to the parser.
            seqs += [int(message.id.partition(".")[2]) for message in parser.feed(data) if message.id]
    if seqs != list(range(1, EVENTS + 1)):
        raise Flawed(f"who came back was given {len(seqs)} events")
    return len(seqs), time.monotonic() - began


def _opened(port: int, path: str) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
    stream.sendall(f"GET {path} HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n".encode())
    return stream


@contextmanager
def memory(pid: int) -> Iterator[list[float]]:
    """What is resident of a process, in MB, again and again while inside, and once more at the end."""
    seen: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            seen.append(_resident(pid))

    thread = threading.Thread(target=look)
    seen.append(_resident(pid))
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.append(_resident(pid))


def _resident(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise Flawed("the server has died")
    return int(found[1]) / 1024


W14 = Workload(
    "W14",
    f"asleep: {EVENTS:,} events of {SIZE // 1000} KB, {RATE} a second, to {FAST} viewers, and one that reads nothing",
    (
        Column("p50", "p50 ms", ",.2f"),
        Column("p99", "p99 ms", ",.2f"),
        Column("before", "MB before", ",.1f"),
        Column("peak", "MB at most", ",.1f"),
        Column("after", "MB after", ",.1f"),
        Column("cut", "cut after s", ",.1f"),
        Column("back", "then read"),
        Column("took", "in s", ",.2f"),
    ),
    {OURS: beside(sleepers=1), "ours, none asleep": beside(sleepers=0)},
    (Target("p99", 1.25, of="ours, none asleep"), Target("peak", 1.5, of="ours, none asleep")),
    rounds=1,
    quick=1,
)
