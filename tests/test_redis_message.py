"""Whatever an event holds, its message says the same; whatever a message holds, it is an event, a hint or refused."""

from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from sentri_events.backends.message import LARGE, SIGNED, Bell, Hint, address, from_message, signature, to_message
from sentri_events.errors import SentriEventsError
from sentri_events.event import Event, Rules, draft

ORIGIN = "inst_1800000000000_0123456789ab"
RULES = Rules(frozenset(), 1 << 20)
LAST = 253_402_300_799_999  # milliseconds: the end of the year 9999

texts = st.text(st.characters(codec="utf-8"))
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)
payloads = st.dictionaries(texts.filter(lambda key: key[:1] != "_" and key != "type"), values)


@given(payloads, st.integers(0, 2**62), st.integers(0, LAST), st.text("abcdefghij0123456789", min_size=6, max_size=16))
@example({"a": [{"_origin": ORIGIN}], "b": 1e-7, "c": 2**64 - 1, "d": -0.0}, 1, 0, "abcdef")
def test_there_and_back(payload: dict[str, Any], seq: int, at: int, epoch: str) -> None:
    """To the byte. Caught: nested keys with `_` stripped too."""
    json = draft({"type": "log", **payload}, RULES, 0).json
    event = Event("RUN-1", epoch if seq else "", seq, at, "log", json)
    message = to_message(event, ORIGIN)
    assert message.isascii()
    assert signature(ORIGIN) in message[-SIGNED:]
    letter = from_message("RUN-1", message)
    if isinstance(letter, Hint):
        assert seq > 0
        assert len(json) > LARGE
        assert letter == (event.run, epoch, seq)
    else:
        assert letter == replace(event, at=at if seq else letter.at)


def test_a_bell_to_the_byte() -> None:
    """It says that there is something, not what: the store says that."""
    bell = Bell("WS-1")
    assert address(bell) == b"sentri:workspace:WS-1"
    assert to_message(bell, ORIGIN) == b'{"type":"_hint","_origin":"%b"}' % ORIGIN.encode()
    assert signature(ORIGIN) in to_message(bell, ORIGIN)[-SIGNED:]


@given(st.text("abcdefghij0123456789", min_size=6, max_size=16), st.integers(1, 2**62))
def test_a_hint_there_and_back(epoch: str, seq: int) -> None:
    hint = Hint("RUN-1", epoch, seq)
    message = to_message(hint, ORIGIN)
    assert signature(ORIGIN) in message[-SIGNED:]
    assert from_message("RUN-1", message) == hint


OURS = ("type", "_origin", "_epoch", "_seq", "_at", "message")
foreign = st.dictionaries(
    st.sampled_from(OURS) | texts, values | st.sampled_from(["log", "_hint", "abcdef", "2026-01-01"])
)


@given(st.binary() | foreign.map(lambda value: repr(value).encode(errors="replace")))
def test_anything_may_come(message: bytes) -> None:
    _judge(message)


@given(foreign)
def test_any_object_may_come(value: dict[str, Any]) -> None:
    _judge(msgspec.json.encode(value))


def _judge(message: bytes) -> None:
    """An event without keys of ours, a hint, or a refusal; nothing else."""
    try:
        letter = from_message("RUN-1", message)
    except SentriEventsError:
        return
    assert letter.run == "RUN-1"
    if isinstance(letter, Event):
        assert letter.json.isascii()
        assert letter.json.startswith(b'{"type":"')
        assert b"\n" not in letter.json
        assert (letter.seq > 0) == bool(letter.epoch)
