"""What both faces of the client agree on: the address, the line of an event, and when to try again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentri_events.errors import ClientError, Invalid
from sentri_events.wire import encode, pause, retry_after, sentence, server_url


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTRI_EVENTS_URL", raising=False)
    monkeypatch.delenv("SENTRI_URL", raising=False)


def test_where_the_server_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_url(None) == "http://127.0.0.1:8000"
    monkeypatch.setenv("SENTRI_URL", "http://b")
    assert server_url(None) == server_url("") == "http://b"
    monkeypatch.setenv("SENTRI_EVENTS_URL", "http://a")
    assert server_url(None) == "http://a"
    assert server_url("https://c:8443/path/") == "https://c:8443/path"
    assert server_url("http://[::1]:8000") == "http://[::1]:8000"
    monkeypatch.setenv("SENTRI_EVENTS_URL", "a")
    with pytest.raises(ClientError, match="not 'a'"):
        server_url(None)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "localhost",
            "localhost:8000",
            "127.0.0.1:8000",
            "ftp://a",
            "file:///a",
            "http://",
            "http:///a",
            "http://:80",
        ),
        *("http://a:b", "http://a:0", "http://a:99999", "http://[::1", "http://a..b", "http://" + "a" * 64),
        *(
            "http://a b",
            "http://a/b c",
            "http://a\n",
            " http://a",
            "http://a/\0",
            "http://a/é",
            "http://a?b",
            "http://a#b",
        ),
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ClientError, match="must look like"):
        server_url(url)


@pytest.mark.parametrize("url", ["http://me:s3cret@a", "ftp://me:s3cret@a", "https://s3cret@a"])
def test_a_password_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ClientError) as refusal:
        server_url(url)
    assert "s3cret" not in str(refusal.value)


def test_a_line() -> None:
    assert encode({"type": "log", "n": 1.5, "s": "é\u2028\n", "l": [None, True]}) == (
        b'{"type":"log","n":1.5,"s":"\\u00e9\\u2028\\n","l":[null,true]}'
    )
    assert encode({"error": ValueError("no")}) == b'{"error":"no"}'
    assert encode({"s": "\\ud800 \ud800"}) == rb'{"s":"\\ud800 \ufffd"}'


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text() | st.floats(allow_nan=False, allow_infinity=False))))
def test_a_line_keeps_what_it_is_given(event: dict[str, object]) -> None:
    assert json.loads(encode(event)) == event


broken_texts = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from('\\"ud8'))


@given(broken_texts)
def test_a_line_is_unicode_whatever_it_is_given(text: str) -> None:
    """Half a pair is replaced; a whole one, which JSON cannot tell from the character, stays."""
    sent = json.loads(encode({"text": text}))["text"]
    assert sent == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def test_what_cannot_be_a_line() -> None:
    circle: list[object] = []
    circle.append(circle)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (float("nan"), float("-inf"), circle, deep, {(1, 2): 3}):
        with pytest.raises(Invalid, match="cannot be written as JSON"):
            encode({"value": value})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":"The run has ended."}', "The run has ended."),
        (b'{"error":7}', "The server answered 409."),
        (b"[]", "The server answered 409."),
        (b"\xff<html>", "The server answered 409."),
        (b"", "The server answered 409."),
    ],
)
def test_why_it_was_refused(body: bytes, words: str) -> None:
    assert sentence(409, body) == words


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        ("120", 120),
        ("-1", 0),
        ("1.5", 0),
        ("9" * 400, 0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value) == seconds


@given(st.integers(0, 10**6), st.floats(0.001, 100), st.floats(0, 1000))
def test_pauses_grow_and_keep_what_was_asked(failures: int, first: float, least: float) -> None:
    expected = min(max(first * 2 ** min(failures, 20), least), max(30.0, first, least))
    waits = [pause(failures, first, least) for _ in range(20)]
    assert expected <= min(waits) <= max(waits) <= 1.5 * expected


def test_pauses_differ() -> None:
    assert len({pause(3, 1.0) for _ in range(20)}) > 1
