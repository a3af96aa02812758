"""What makes an event valid and how it is encoded, without a server: the same rules for any JSON there is."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sentri_events.errors import BadRequest, Invalid, TooLarge
from sentri_events.event import (
    COUNTED_AS,
    FINAL_STATUSES,
    MAX_DEPTH,
    Rules,
    check_fields,
    check_id,
    draft,
    drafts,
    encode,
    iso,
    read_json,
    read_payloads,
    read_time,
)
from sentri_events.settings import ALWAYS_DURABLE

RULES = Rules(frozenset({"frame", "snapshot"}), 1 << 20)
NOW = 1_769_860_800_000
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=6)
TYPES = st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True)


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal types: 1, 1.0 and True are three values, and so are 0.0 and -0.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return type(one) is type(other) and bool(one == other)


def outcome(call: Callable[[], Any]) -> Any:
    """What `call` returns, or the sentence of its refusal."""
    try:
        return call()
    except (BadRequest, TooLarge, Invalid) as error:
        sentence = str(error)
    assert sentence.endswith(".")
    return sentence


# Encoding


@given(OBJECTS)
@example({"\u2028": "\x85\x00\x7f\x80 \U0001f600\ufeff\uffff", "": [[]], "n": [-0.0, 5e-324, 2**70, 1e22]})
def test_any_object_goes_through_unchanged(value: dict[str, Any]) -> None:
    """As an independent reader has it. Caught: characters beyond U+FFFF as one escape."""
    encoded = encode(value)
    assert encoded.isascii()
    assert b"\n" not in encoded
    assert b"\r" not in encoded
    assert same(json.loads(encoded), value)
    assert same(read_json(encoded), value)


@given(OBJECTS, st.booleans())
def test_what_others_write_is_read_as_they_meant_it(value: dict[str, Any], ascii: bool) -> None:
    written = json.dumps(value, ensure_ascii=ascii, indent=1).encode()
    assert same(read_json(written), value)
    assert encode(read_json(written)) == encode(value)


@given(JSON)
def test_there_are_no_spaces_between_tokens(value: Any) -> None:
    spaces = json.dumps(value).count(" ")
    tight = json.dumps(value, separators=(",", ":"))
    assert encode(value).count(b" ") == tight.count(" ") <= spaces


@given(TYPES, OBJECTS)
def test_a_draft_holds_the_event_with_its_type_first(kind: str, payload: dict[str, Any]) -> None:
    payload = {key: value for key, value in payload.items() if not key.startswith("_") and key != "type"}
    if kind in ("result", "update", "done"):
        kind = "x"
    made = draft({**payload, "type": kind}, RULES, NOW)
    assert same(json.loads(made.json), {"type": kind, **payload})
    assert (made.type, made.at, made.volatile, made.effect) == (kind, NOW, kind in RULES.volatile, None)


@pytest.mark.parametrize("value", [{"a": {1, 2, object()}}, {"a": "\ud800"}, {"\udfff": 1}, {(1, 2): 3}])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(Invalid):
        encode(value)


def test_a_value_deeper_than_the_encoder_goes_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Invalid):
        encode({"a": value})
    while value:  # the interpreter itself would overflow where it drops this at once
        value = value[0]


# Reading


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_words(body: bytes) -> None:
    for content_type in ("application/json", "application/x-ndjson"):
        payloads = outcome(lambda: read_payloads(body, content_type))  # noqa: B023
        assert payloads
        assert isinstance(payloads, str) or all(isinstance(payload, dict) for payload in payloads)


@given(st.lists(OBJECTS, min_size=1, max_size=5), st.lists(st.sampled_from([b"", b"\r", b" \t"]), max_size=5))
def test_lines_and_arrays_are_the_same_batch(events: list[dict[str, Any]], blanks: list[bytes]) -> None:
    array = json.dumps(events).encode()
    written = [json.dumps(event).encode() for event in events]
    assert read_payloads(array, "") == events
    assert read_payloads(b"\n".join([*blanks, *written, *blanks]), "application/x-ndjson") == events
    assert read_payloads(b"\r\n".join(written), "Application/x-NDJSON;charset=utf-8") == events


def test_one_object_is_a_batch_of_one() -> None:
    assert read_payloads(b'{"type":"x"}', "text/plain") == [{"type": "x"}]


# Judging


def judged(**payload: Any) -> Any:
    return draft({"type": "x", **payload}, RULES, NOW)


@given(OBJECTS)
def test_any_object_is_judged_in_words(payload: dict[str, Any]) -> None:
    for kind in ("log", "result", "update", "done", "frame", None):
        made = outcome(lambda: draft({**payload, "type": kind} if kind else payload, RULES, NOW))  # noqa: B023
        assert isinstance(made, str) or made.json.startswith(b'{"type":"')


@given(st.integers(1, 200), st.booleans())
@example(63, True)
@example(64, True)
def test_64_levels_and_no_more(levels: int, arrays: bool) -> None:
    value: Any = [] if arrays else {}
    for _ in range(levels - 1):
        value = [value] if arrays else {"a": value}
    beside: list[dict[str, Any]] = [{}, {"wide": [[]] * 100}]
    for more in beside:
        if 1 + levels <= MAX_DEPTH:
            judged(d=value, **more)
        else:
            with pytest.raises(Invalid, match="64 deep"):
                judged(d=value, **more)


def test_the_bound_is_on_the_bytes_that_are_stored() -> None:
    size = len(b'{"type":"x","s":""}')
    rules = RULES._replace(max_event_bytes=size + 12)
    for text in ("a" * 12, "é" * 2, "\U0001f600", "\\" * 6):
        assert len(draft({"type": "x", "s": text, "_at": "2026-01-31T12:00:00Z"}, rules, NOW).json) == size + 12
        with pytest.raises(TooLarge, match=f"{size + 12} bytes, not {size + 13}"):
            draft({"type": "x", "s": text + "a"}, rules, NOW)


def test_a_batch_names_what_is_wrong_first_by_its_size_then_by_its_place() -> None:
    large, wrong = {"type": "x", "s": "x" * 2000}, {"no": "type"}
    rules = RULES._replace(max_event_bytes=1024)
    with pytest.raises(TooLarge, match="Event 3: "):
        drafts([wrong, {"type": "x"}, large, large], rules, NOW)
    with pytest.raises(Invalid, match="Event 2: An event needs a type"):
        drafts([{"type": "x"}, wrong, {"type": "x y"}], rules, NOW)
    with pytest.raises(Invalid, match=r"^An event needs"):
        drafts([wrong], rules, NOW)


def test_types_that_make_the_document_are_always_durable() -> None:
    for kind in ALWAYS_DURABLE:
        with pytest.raises(Invalid, match=f"{kind} cannot be volatile"):
            draft({"type": kind}, RULES, NOW, volatile=True)
    assert draft({"type": "x"}, RULES, NOW, volatile=True).volatile
    assert draft({"type": "frame"}, RULES, NOW).volatile
    assert not draft({"type": "x"}, RULES, NOW).volatile


@pytest.mark.parametrize("status", [*FINAL_STATUSES, "running", "", None, 5, ["failed"], {}])
def test_done_needs_a_final_status(status: Any) -> None:
    if status in FINAL_STATUSES:
        assert draft({"type": "done", "status": status}, RULES, NOW).effect is not None
    else:
        with pytest.raises(Invalid, match="final status"):
            draft({"type": "done", "status": status}, RULES, NOW)


def test_the_statuses_of_results_are_counted_as_the_protocol_says() -> None:
    counted = {
        name: {status for status, kind in COUNTED_AS.items() if kind == name} for name in set(COUNTED_AS.values())
    }
    assert counted == {
        "passed": {"passed", "xpassed", "warning"},
        "failed": {"failed", "error"},
        "skipped": {"skipped", "xfailed"},
    }


def test_fields_of_a_run() -> None:
    kept = check_fields(
        {"id": 1, "projectId": 2, "workspaceId": 3, "status": 4, "name": None, "passed": 0, "x": {"y": 1}}
    )
    assert kept == {"name": None, "passed": 0, "x": {"y": 1}}
    assert check_fields({"startedAt": "2026-01-31T12:00:00Z"}) == {"startedAt": NOW}


@pytest.mark.parametrize("id", ["a", "A.b_c-9", "x" * 128, "..", "-"])
def test_an_id(id: str) -> None:
    assert check_id(id, "id") == id


@pytest.mark.parametrize("id", ["", "x" * 129, "a b", "a/b", "é", "a\n", "a:b", "٣", None, 5, b"a"])
def test_no_id(id: Any) -> None:
    with pytest.raises(Invalid, match=r"^id has 1 to 128 characters"):
        check_id(id, "id")


# Times


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_a_time_is_kept_to_the_millisecond_in_any_zone(time: datetime, minutes: int) -> None:
    zoned = time.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    shown = iso(read_time(zoned.isoformat(), "_at"))
    expected = zoned.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert shown == expected
    assert read_time(shown, "_at") == read_time(zoned.isoformat(), "_at")


@given(st.text() | st.integers() | st.none() | st.lists(st.integers()))
@example("9999-12-31T23:59:59-00:01")
@example("9999-12-31T23:59:59.999999Z")
@example("0001-01-01T00:00:00+14:00")
@example("1969-12-31T23:59:59.999Z")
def test_what_is_read_as_a_time_can_be_shown(value: Any) -> None:
    """Caught: a time in the year 10000, which no answer could show."""
    time = outcome(lambda: read_time(value, "_at"))
    assert time == "_at must be an ISO 8601 time such as 2026-01-31T12:00:00.000Z." or time == read_time(
        iso(time), "_at"
    )
