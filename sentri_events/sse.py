"""Events to text/event-stream bytes and back, after WHATWG HTML, section 9.2. No I/O, no clock.

A line ends at CR, LF or CRLF and nowhere else, so lines are cut as bytes and decoded when they are whole.
"""

from typing import NamedTuple

HEARTBEAT = b": heartbeat\n\n"

_BOM = b"\xef\xbb\xbf"
_MOST_RETRY_DIGITS = 18


def frame(json: bytes, id: str | None = None, event: str | None = None) -> bytes:
    """One event as a block of the stream. `json`, `id` and `event` must hold no CR and no LF, `id` no NUL either."""
    head = b"" if id is None else b"id: %b\n" % id.encode()
    if event is not None:
        head += b"event: %b\n" % event.encode()
    return b"%bdata: %b\n\n" % (head, json)


def retry(milliseconds: int) -> bytes:
    """A line of the block that follows: how long a viewer waits before it connects again."""
    return b"retry: %d\n" % milliseconds


def comment(text: str) -> bytes:
    """A block that no viewer sees, but whoever looks at the bytes."""
    return b": %b\n\n" % text.encode()


class Message(NamedTuple):
    """One dispatched block. `event` is "message" if the block named none; `id` is None if it had no id line."""

    event: str
    data: str
    id: str | None


class Parser:
    """Bytes of one stream in, in pieces of any size; messages out as soon as their blank line is there.

    It never raises: what the standard ignores is ignored. At the end of a stream an unfinished block is worth
    nothing: stop feeding, and take a new parser for the next connection.

    `last_event_id` is what a reconnecting viewer sends: it moves at the end of a block, with data or without.
    `retry` is the last reconnection time, in milliseconds, that the stream asked for.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._unfinished: list[bytes] = []  # the pieces of a line are joined once, or a long one costs its square
        self._at_start = True
        self._after_cr = False
        self._data: list[bytes] = []
        self._event = b""
        self._id: str | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes, in their order."""
        messages: list[Message] = []
        if not data:
            return messages
        rest = data.removeprefix(b"\n") if self._after_cr else data
        self._after_cr = data.endswith(b"\r")
        for line in rest.splitlines(keepends=True):
            content = line.rstrip(b"\r\n")
            if len(content) == len(line):
                self._unfinished.append(line)
                break
            if self._unfinished:
                content = b"".join((*self._unfinished, content))
                self._unfinished.clear()
            if self._at_start:
                content = content.removeprefix(_BOM)
                self._at_start = False
            if content:
                self._field(content)
            else:
                self._dispatch(messages)
        return messages

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = _text(value)
        elif name == b"retry" and value.isdigit() and len(value) <= _MOST_RETRY_DIGITS:
            self.retry = int(value)

    def _dispatch(self, messages: list[Message]) -> None:
        if self._id is not None:
            self.last_event_id = self._id
        if self._data:
            messages.append(Message(_text(self._event) or "message", _text(b"\n".join(self._data)), self._id))
        self._data, self._event, self._id = [], b"", None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
