"""Viewers that do not keep up: they cost little, harm nobody and lose nothing. Promises P10 and P11 on one server."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sentri_events.caller import DEVELOPER
from sentri_events.handlers.access_log import Client
from sentri_events.handlers.sockets import Socket, Streams
from sentri_events.sse import Parser
from tests.bridge import until
from tests.server_process import ServerProcess, wait_until

EVENT = "x" * 100_000


class Reader:
    """A viewer on a raw socket that reads when it is told to."""

    def __init__(self, server: ServerProcess, run: str, position: int = 0, small: bool = False) -> None:
        self._socket = socket.socket()
        if small:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(30)
        self._socket.connect(("127.0.0.1", server.port))
        # HTTP/1.0: the body comes without chunks, and ends with the connection.
        self._socket.sendall(
            f"GET /api/v1/runs/{run}/events?snapshot=0&lastEventId={position} HTTP/1.0\r\n\r\n".encode()
        )
        self._parser = Parser()
        self._in_body = False
        self._head = b""
        self.events: list[dict[str, object]] = []
        self.seqs: list[int] = []

    def read(self) -> bool:
        """Take what is there; False at the end."""
        data = self._socket.recv(1 << 20)
        if not self._in_body:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return True
            assert b"200 OK" in head
            self._in_body = True
            if not data:
                return True
        elif not data:
            return False
        for message in self._parser.feed(data):
            self.events.append(json.loads(message.data))
            if message.id is not None:
                self.seqs.append(int(message.id.partition(".")[2]))
        return True

    def read_to_end(self) -> None:
        while self.read():
            pass

    def close(self) -> None:
        self._socket.close()


@contextmanager
def readers(*made: Reader) -> Iterator[None]:
    try:
        yield
    finally:
        for reader in made:
            reader.close()


def rss(server: ServerProcess) -> int:
    """Resident memory in bytes."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def post(server: ServerProcess, run: str, *events: object) -> None:
    status, answer = server.request("POST", f"/api/v1/runs/{run}/events", list(events))
    assert status in (201, 202), answer


def test_a_reader_that_stops_costs_little_and_gets_everything_when_it_wakes(server: ServerProcess) -> None:
    """100 MB to readers that read nothing. Mutant caught: `Socket.write` keeps what it is given and says True."""
    run = server.make_run()
    asleep = [Reader(server, run, small=True) for _ in range(5)]
    fast = Reader(server, run)
    with readers(*asleep, fast):
        thread = threading.Thread(target=fast.read_to_end)
        thread.start()
        before = rss(server)
        for n in range(1000):
            post(server, run, {"type": "log", "message": EVENT, "n": n})
        wait_until(lambda: len(fast.seqs) == 1000, "the fast reader has everything")
        assert rss(server) - before < 60 << 20
        for reader in asleep:
            while len(reader.seqs) < 1000:
                assert reader.read()
            assert reader.seqs == list(range(1, 1001))
        post(server, run, {"type": "done", "status": "completed"})
        thread.join(30)
        assert fast.seqs == list(range(1, 1002))
        for reader in asleep:
            reader.read_to_end()
            assert reader.seqs[-1] == 1001


def test_a_stuck_reader_gets_the_newest_picture_and_every_word(server: ServerProcess) -> None:
    """P11. Mutants caught: `advance` gives all that `_latest` holds of a type; it gives none."""
    run = server.make_run()
    stuck = Reader(server, run, small=True)
    with readers(stuck):
        wait_until(stuck.read, "the headers are there")
        for n in range(300):
            post(server, run, {"type": "frame", "data": EVENT, "n": n}, {"type": "log", "message": "", "n": n})
        while len(stuck.seqs) < 300 or stuck.events[-1]["type"] != "frame":
            assert stuck.read()
        frames = [event["n"] for event in stuck.events if event["type"] == "frame"]
        assert frames == sorted(set(frames), key=lambda n: int(str(n)))
        assert frames[-1] == 299
        assert len(frames) < 200, "frames that are no longer news are not sent to who is behind"
        assert stuck.seqs == list(range(1, 301))


def sleeper(server: ServerProcess, run: str) -> socket.socket:
    """A viewer that wants the snapshot and reads nothing of it; its first bytes have come."""
    viewer = socket.socket()
    viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    viewer.settimeout(30)
    viewer.connect(("127.0.0.1", server.port))
    viewer.sendall(f"GET /api/v1/runs/{run}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert viewer.recv(1, socket.MSG_PEEK)
    return viewer


def test_viewers_that_begin_with_the_same_snapshot_share_its_bytes(tmp_path: Path) -> None:
    """8 MB to 20 viewers that read nothing. Mutants caught: `_beginning` makes the bytes for each of them;
    `Socket.begin` keeps a copy of what the socket does not take."""
    server = ServerProcess(tmp_path, "--heartbeat", "3600")  # it would let go of the snapshot, for the next to come
    with ExitStack() as stack:
        stack.callback(server.close)
        run = server.start().make_run()
        for _ in range(80):
            post(server, run, {"type": "log", "message": EVENT})
        stack.enter_context(sleeper(server, run))
        before = rss(server)
        for _ in range(20):
            stack.enter_context(sleeper(server, run))
        assert server.request("GET", "/health") == (200, {"status": "alive"})
        assert (rss(server) - before) / 20 < 80 * len(EVENT) / 8


@pytest.fixture
def strict_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """One that gives up on a viewer after a second."""
    process = ServerProcess(tmp_path, "--stall-timeout", "1", "--heartbeat", "0.2")
    try:
        yield process.start()
    finally:
        process.close()


@pytest.mark.parametrize("ended", [False, True])
def test_a_reader_that_takes_nothing_for_too_long_is_closed_and_can_resume(
    strict_server: ServerProcess, ended: bool
) -> None:
    """Whether the run goes on or has ended. Mutant caught: `beat` does not look how long nothing was taken."""
    server = strict_server
    run = server.make_run()
    stuck = Reader(server, run, small=True)
    with readers(stuck):
        for _ in range(80):
            post(server, run, {"type": "log", "message": EVENT})
        if ended:
            post(server, run, {"type": "done", "status": "completed"})
        wait_until(lambda: open_sockets(server) == 0, "the server has let go of the socket")
        with pytest.raises(OSError, match="reset"):
            stuck.read_to_end()
        assert stuck.seqs == list(range(1, len(stuck.seqs) + 1))
        again = Reader(server, run, position=len(stuck.seqs))
        with readers(again):
            while not again.seqs or again.seqs[-1] < 80:
                assert again.read()
            assert stuck.seqs + [seq for seq in again.seqs if seq <= 80] == list(range(1, 81))


@pytest.mark.parametrize("filled", [True, False])
async def test_a_stream_that_is_stuck_at_its_end_is_not_kept(filled: bool) -> None:
    """Nobody beats for it any more. Mutant caught: `finish` does not watch itself."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    streams = Streams(stall_timeout=0.05)
    with theirs:
        stream = Socket(ours, streams, Client("/", "", DEVELOPER, ""), True, b"")
        if filled:
            assert not stream.write(b"x" * 1_000_000)
        else:  # so that it is the last chunk that does not fit
            while True:
                try:
                    ours.send(b"x")
                except BlockingIOError:
                    break
        stream.finish()
        assert streams.open == {stream}
        await until(lambda: not streams.open, "it is closed")
        assert ours.fileno() < 0


def open_sockets(server: ServerProcess) -> int:
    """Connections that the server holds, the listening one left out."""
    port = f"{server.port:04X}"
    rows = [line.split() for line in Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[1].endswith(port) and row[3] != "0A"}
    held = set()
    for link in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            held.add(str(link.readlink()))
        except OSError:
            continue  # closed while we looked
    return sum(f"socket:[{inode}]" in held for inode in inodes)
