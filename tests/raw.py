"""HTTP as its bytes: what is sent stands in the test, what comes back is judged to the byte."""

import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

HEARTBEAT = b": heartbeat\n\n"
RETRY = b"retry: 2000\n"
PATIENCE = 20.0  # seconds


class Connection:
    """One TCP connection. What has come is given out by length or by mark, and not interpreted."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost", suppress_ragged_eofs=False)
        self._buffer = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def exactly(self, size: int) -> bytes:
        parts = [self._buffer]
        missing = size - len(self._buffer)
        while missing > 0:
            data = self.socket.recv(1 << 16)
            assert data, f"closed after {b''.join(parts)[-200:]!r}"
            parts.append(data)
            missing -= len(data)
        self._buffer = b"".join(parts)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            data = self.socket.recv(1 << 16)
            assert data, f"closed after {self._buffer[-200:]!r}"
            self._buffer += data
        before, _, self._buffer = self._buffer.partition(mark)
        return before + mark

    def some(self) -> bytes:
        """What is there, at least a byte; nothing if the other side has closed."""
        data, self._buffer = self._buffer or self.socket.recv(1 << 16), b""
        return data

    def rest(self) -> bytes:
        """All until the other side closes."""
        return b"".join(iter(self.some, b""))

    def answer(self, method: str = "GET") -> "Answer":
        """The next answer, by its Content-Length."""
        head = Head.read(self)
        size = 0 if method == "HEAD" or head.status in (204, 304) else int(head.headers["content-length"])
        return Answer(head.status, head.headers, self.exactly(size))


class Head(NamedTuple):
    """The status line and the headers, names in lower case."""

    line: str
    status: int
    headers: dict[str, str]

    @staticmethod
    def read(connection: Connection) -> "Head":
        line, *fields = connection.until(b"\r\n\r\n").decode("latin-1")[:-4].split("\r\n")
        headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        assert len(headers) == len(fields), f"a header comes twice: {fields}"
        return Head(line, int(line.split()[1]), headers)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of `{"error": "<a sentence>"}`, which is all that the body holds."""
        assert self.headers["content-type"] == "application/json"
        document = self.json
        assert list(document) == ["error"], document
        sentence = document["error"]
        assert isinstance(sentence, str)
        assert sentence.strip()
        return sentence


def request(
    method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"", version: str = "1.1"
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/{version}"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in {"Host": "localhost", **(headers or {})}.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def ask(
    port: int, method: str, path: str, body: Any = b"", headers: Mapping[str, str] | None = None, version: str = "1.1"
) -> Answer:
    """One request on a connection of its own. A body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with Connection(port) as connection:
        connection.send(request(method, path, headers, data, version))
        return connection.answer(method)


def lines(events: Iterable[Mapping[str, Any]]) -> bytes:
    """Events as NDJSON."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


class Stream:
    """A stream as its blocks, with the chunks of HTTP/1.1 taken off. Heartbeats are counted and left out.

    Every stream's first block must begin with the reconnection time; it is given out without. `path` is for a stream
    that is not a run's.
    """

    def __init__(
        self,
        port: int,
        run: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        version: str = "1.1",
        tls: ssl.SSLContext | None = None,
        path: str | None = None,
    ) -> None:
        self.connection = Connection(port, tls)
        path = (path or f"/api/v1/runs/{quote(run)}/events") + (f"?{query}" if query else "")
        self.connection.send(request("GET", path, headers, version=version))
        self.head = Head.read(self.connection)
        self.chunked = self.head.headers.get("transfer-encoding") == "chunked"
        self.heartbeats = 0
        self._body = b""
        self._begun = False

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.socket.close()

    def block(self) -> bytes:
        """The next block that is no heartbeat, with its blank line."""
        block = self.next()
        while block == HEARTBEAT:
            block = self.next()
        return block

    def next(self) -> bytes:
        """The next block of any kind."""
        assert self.more(), f"ended after {self._body!r}"
        block, _, self._body = self._body.partition(b"\n\n")
        self.heartbeats += block + b"\n\n" == HEARTBEAT
        return block + b"\n\n"

    def more(self) -> bool:
        """Whether another block comes before the end."""
        self._begin()
        while b"\n\n" not in self._body:
            if not self._read():
                return False
        return True

    def blocks(self, number: int) -> list[bytes]:
        return [self.block() for _ in range(number)]

    def rest(self) -> list[bytes]:
        """All blocks that are left of a stream that ends: with the last chunk, whole, and with a closed connection."""
        self._begin()
        while self._read():
            pass
        assert self.connection.rest() == b"", "something follows the end"
        assert self._body.endswith(b"\n\n") or not self._body, "the last block is cut"
        blocks = [block + b"\n\n" for block in self._body.split(b"\n\n")[:-1]]
        return [block for block in blocks if block != HEARTBEAT]

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            while len(self._body) < len(RETRY):
                assert self._read(), f"ended after {self._body!r}"
            assert self._body.startswith(RETRY)
            self._body = self._body.removeprefix(RETRY)

    def _read(self) -> bool:
        if self.chunked:
            size = int(self.connection.until(b"\r\n"), 16)
            self._body += self.connection.exactly(size)
            assert self.connection.exactly(2) == b"\r\n"
            return size > 0
        data = self.connection.some()
        self._body += data
        return bool(data)


def data(block: bytes) -> Any:
    """The JSON of a block."""
    (line,) = [line for line in block.split(b"\n") if line.startswith(b"data: ")]
    return json.loads(line.removeprefix(b"data: "))


def id_of(block: bytes) -> str | None:
    """The id of a block."""
    found = [line.removeprefix(b"id: ").decode() for line in block.split(b"\n") if line.startswith(b"id: ")]
    return found[0] if found else None
