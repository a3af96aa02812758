"""The stream's bytes: what we write is what we read, and the parser keeps the rules of WHATWG HTML, section 9.2."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentri_events.sse import HEARTBEAT, Message, Parser, frame, retry


def parse(*pieces: bytes) -> list[Message]:
    parser = Parser()
    return [message for piece in pieces for message in parser.feed(piece)]


def message(data: str, event: str = "message", id: str | None = None) -> Message:
    return Message(event, data, id)


def test_the_bytes_of_the_protocol() -> None:
    assert frame(b'{"type":"log"}', id="k3v9x2.5") == b'id: k3v9x2.5\ndata: {"type":"log"}\n\n'
    assert frame(b"{}", id="k3v9x2.5", event="log") == b"id: k3v9x2.5\nevent: log\ndata: {}\n\n"
    assert frame(b"{}") == b"data: {}\n\n"
    assert retry(2000) + frame(b"{}") == b"retry: 2000\ndata: {}\n\n"
    assert HEARTBEAT == b": heartbeat\n\n"


@pytest.mark.parametrize(
    ("stream", "messages"),
    [
        # the examples of the standard
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [message("YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
            [message("first event", id="1"), message("second event", id="")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [message(""), message("\n")]),
        (b"data:test\n\ndata: test\n\n", [message("test"), message("test")]),
        # one space is stripped, and one only
        (b"data:  two\ndata:\tab\n\n", [message(" two\n\tab")]),
        # fields
        (b"event: log\ndata: x\n\ndata: y\n\n", [message("x", event="log"), message("y")]),
        (b"event:\ndata: x\n\n", [message("x")]),
        (b"event: lost\n\ndata: x\n\n", [message("x")]),
        (b"datas: a\nDATA: b\n data: c\ndata : d\ndata: e\n\n", [message("e")]),
        (b"data: a:b: c\n\n", [message("a:b: c")]),
        (b":data: comment\n:\ndata: x\n\n", [message("x")]),
        (b"id: a\0b\ndata: x\n\n", [message("x")]),
        (b"id: a\nid: b\0\ndata: x\n\n", [message("x", id="a")]),
        (b"data: \0\n\n", [message("\0")]),
        # line ends
        (b"data: a\rdata: b\r\rdata: c\n\n", [message("a\nb"), message("c")]),
        (b"data: a\r\ndata: b\r\n\r\n", [message("a\nb")]),
        (b"data: a\n\r\ndata: b\r\n\n", [message("a"), message("b")]),
        (b"\n\n\r\r\n\ndata: x\n\n", [message("x")]),
        # what Python counts as line ends, and this format does not
        (
            "data: a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\n\n".encode(),
            [message("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei")],
        ),
        # the byte order mark
        (b"\xef\xbb\xbfdata: x\n\n", [message("x")]),
        (b"\xef\xbb\xbf\n\xef\xbb\xbfdata: x\ndata: y\n\n", [message("y")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\ndata: y\n\n", [message("y")]),
        (b"data: \xef\xbb\xbfx\n\n", [message("\ufeffx")]),
        # what is no UTF-8
        (b"data: a\xffb\xe2\x82\ndata: \xf0\x9f\n\n", [message("a\ufffdb\ufffd\n\ufffd")]),
        # no dispatch at the end of the stream
        (b"data: whole\n\ndata: half\n", [message("whole")]),
        (b"data: whole\n\ndata: half", [message("whole")]),
    ],
)
def test_rules(stream: bytes, messages: list[Message]) -> None:
    assert parse(stream) == messages
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == messages


def test_a_cr_at_the_end_of_a_piece_ends_its_line_at_once() -> None:
    parser = Parser()
    assert parser.feed(b"data: a\r\n\r") == [message("a")]
    assert parser.feed(b"\ndata: b\r") == []  # that LF belongs to the CR before it
    assert parser.feed(b"") == []
    assert parser.feed(b"\ndata: c\n\n") == [message("b\nc")]


def test_the_last_event_id_moves_at_the_end_of_a_block_with_or_without_data() -> None:
    parser = Parser()
    parser.feed(b"retry: 2000\nid: e.7\n")
    assert parser.last_event_id == ""
    assert parser.feed(b"\n") == []
    assert parser.last_event_id == "e.7"
    assert parser.feed(b"data: x\n\n") == [message("x")]
    assert parser.last_event_id == "e.7"
    parser.feed(b"id: e.9\0\ndata: y\n\n")
    assert parser.last_event_id == "e.7"
    parser.feed(b"id\n\n")
    assert parser.last_event_id == ""


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (b"2000", 2000),
        (b"0", 0),
        (b"007", 7),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.5", None),
        (b"1_000", None),
        (b" 1", None),
        (b"1 ", None),
        ("\u0663".encode(), None),
        (b"9" * 5000, None),
    ],
)
def test_retry_is_ascii_digits_only(value: bytes, time: int | None) -> None:
    parser = Parser()
    parser.feed(b"retry: " + value + b"\n")
    assert parser.retry == time
    parser.feed(b"retry: 300\nretry: soon\n")
    assert parser.retry == 300


@pytest.mark.timeout(60)
def test_a_long_event_in_small_pieces_is_not_read_again_for_each() -> None:
    """A fraction of a second; a parser that joins or scans what it has at each piece moves 2 TB here."""
    size, piece = 32 << 20, b"x" * 256
    parser = Parser()
    parser.feed(b"data: ")
    for _ in range(size // len(piece)):
        assert parser.feed(piece) == []
    (whole,) = parser.feed(b"\n\n")
    assert len(whole.data) == size


FRAGMENTS = [
    b"data", b"data:", b"data: ", b"id", b"id: ", b"event: ", b"retry: ", b"1", b"e.2", b":", b" ", b"x", b"\0",
    b"\r", b"\n", b"\r\n", b"\n\n", b"\xef\xbb\xbf", "\u2028".encode(), "\U0001f600".encode(), b"\xff",
]  # fmt: skip
streams = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join)


@given(streams, st.lists(st.integers(0, 200), max_size=20))
def test_any_cut_gives_the_same_messages(stream: bytes, cuts: list[int]) -> None:
    whole, cut = Parser(), Parser()
    expected = whole.feed(stream)
    edges = sorted([0, len(stream), *(min(place, len(stream)) for place in cuts)])  # twice the same: an empty piece
    messages = [message for start, end in itertools.pairwise(edges) for message in cut.feed(stream[start:end])]
    assert messages == expected
    assert (cut.last_event_id, cut.retry) == (whole.last_event_id, whole.retry)


@given(streams)
def test_it_reads_as_the_standard_is_written(stream: bytes) -> None:
    """Against the standard's own steps, taken one by one on the whole decoded text."""
    expected = []
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _unfinished = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    data, event, block_id, last_id = "", "", None, ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            last_id = last_id if block_id is None else block_id
            if data:
                expected.append(Message(event or "message", data[:-1], block_id))
            data, event, block_id = "", "", None
        elif name == "data":
            data += value + "\n"
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            block_id = value
    parser = Parser()
    assert parser.feed(stream) == expected
    assert parser.last_event_id == last_id


names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1)


@given(st.lists(st.tuples(names, st.none() | names, st.none() | names)), st.booleans())
def test_what_is_written_is_read(events: list[tuple[str, str | None, str | None]], beats: bool) -> None:
    stream = retry(2000)
    for data, id, event in events:
        stream += frame(data.encode(), id, event) + (HEARTBEAT if beats else b"")
    assert parse(stream) == [Message(event or "message", data, id) for data, id, event in events]
