"""What an event is and what makes one valid (protocol, sections 1 and 3). No I/O.

A `Draft` is what a producer sends, judged and encoded; an `Event` is a draft that has its place in a run.
Both hold the JSON exactly as it is stored and sent: ASCII, no spaces, `type` first, no key of the server's.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from sentri_events.errors import BadRequest, BatchTooLarge, EventTooLarge, Invalid, SentriEventsError, TooLarge
from sentri_events.settings import ALWAYS_DURABLE, EVENT_TYPE, RUN_ID

MAX_DEPTH = 64
MAX_BATCH = 1000
MAX_INDEXED = 500  # characters of a text that is a part of a database's key
FINAL_STATUSES = ("completed", "completed_empty", "failed", "aborted", "interrupted")
COUNTS = ("passed", "failed", "skipped", "total")
COUNTED_AS = {
    "passed": "passed",
    "xpassed": "passed",
    "warning": "passed",
    "failed": "failed",
    "error": "failed",
    "skipped": "skipped",
    "xfailed": "skipped",
}
# Fields that follow from the run's life; an update leaves them as they are (section 3).
OF_THE_SERVER = frozenset({"id", "projectId", "workspaceId", "status"})
_TEXTS = ("type", "name", "error")
_ARRAYS = ("results", "tests", "testQueue")
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIME = 253_402_300_799_999  # the last millisecond of the year 9999
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_BRACKET = ord("[")
_UNDERSCORE = ord("_")
_NOT_READ = (RecursionError, UnicodeDecodeError, msgspec.MsgspecError)  # what `_decode` raises
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Draft(msgspec.Struct, frozen=True, gc=False):
    """One event before it has a number. `at` is in milliseconds since 1970; `effect` is the payload where the type
    changes the run document (`result`, `update`, `done`), else None."""

    type: str
    json: bytes
    at: int
    volatile: bool
    effect: dict[str, Any] | None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a run. A volatile one has seq 0 and is in no store."""

    run: str
    epoch: str
    seq: int
    at: int
    type: str
    json: bytes


class Rules(NamedTuple):
    """What a server allows: its volatile types and its largest event, in bytes."""

    volatile: frozenset[str]
    max_event_bytes: int


def read_json(body: bytes) -> Any:
    """The value that `body` holds. Raises `BadRequest` for what is not JSON, `Invalid` for what is nested too deep."""
    if not body:
        raise BadRequest("The body is empty; it must be JSON.")
    try:
        return _decode(body)
    except _NOT_READ as error:
        raise _refusal(error, "The body") from None


def read_payloads(body: bytes, content_type: str, most: int = MAX_BATCH) -> list[dict[str, Any]]:
    """The events of a request's body: one object, an array of objects or, as `application/x-ndjson`, one a line; `most`
    at most.

    Raises `BadRequest` (a batch names the first broken event, counted from 1), `TooLarge` and `Invalid`, in that order.
    """
    if content_type.partition(";")[0].strip().lower() == "application/x-ndjson":
        payloads = _read_lines(body)
    else:
        value = read_json(body)
        payloads = [value] if isinstance(value, dict) else value
        if not isinstance(payloads, list):
            raise BadRequest("The body must be a JSON object or an array of objects.")
        for number, payload in enumerate(payloads, 1):
            if not isinstance(payload, dict):
                raise BadRequest(f"Event {number} is not a JSON object.")
    if len(payloads) > most:
        raise BatchTooLarge(f"A batch may hold {most} events, not {len(payloads)}.")
    if not payloads:
        raise Invalid("The batch is empty.")
    return payloads


def _read_lines(body: bytes) -> list[dict[str, Any]]:
    if not body:
        raise BadRequest("The body is empty; it must be JSON, one event a line.")
    payloads = []
    too_deep = None
    for number, line in enumerate(body.split(b"\n"), 1):
        try:
            payload = _decode(line)
        except _NOT_READ as error:
            if not line or line.isspace():
                continue
            refusal = _refusal(error, f"Line {number}")
            if isinstance(refusal, BadRequest):
                raise refusal from None
            too_deep = too_deep or refusal  # a broken line is said first, wherever it is
            continue
        if not isinstance(payload, dict):
            raise BadRequest(f"Line {number} is not a JSON object.")
        payloads.append(payload)
    if too_deep is not None:
        raise too_deep
    return payloads


def _refusal(error: Exception, what: str) -> SentriEventsError:
    """`what` could not be read."""
    if isinstance(error, RecursionError):
        return Invalid(f"{what} is nested deeper than {MAX_DEPTH}.")
    if isinstance(error, UnicodeDecodeError):
        return BadRequest(f"{what} is not UTF-8.")
    return BadRequest(f"{what} is not JSON: {_reason(error)}.")


def drafts(payloads: list[dict[str, Any]], rules: Rules, now: int, volatile: bool = False) -> list[Draft]:
    """Judge a batch. `now` (milliseconds) is the time of events that bring no `_at`; `volatile` is the request's wish.

    Raises `TooLarge` for the first event that is too large, or else `Invalid` for the first that breaks another rule;
    a batch of several names it by its place.
    """
    judged: list[Draft] = []
    invalid = None
    ended = False
    for number, payload in enumerate(payloads, 1):
        try:
            made = draft(payload, rules, now, volatile)
            if ended:
                raise Invalid("Nothing can follow done.")
            ended = made.type == "done"
            judged.append(made)
        except (Invalid, TooLarge) as error:
            if len(payloads) == 1:
                raise
            refusal = type(error)(f"Event {number}: {error}")
            if isinstance(refusal, TooLarge):
                raise refusal from None
            invalid = invalid or refusal
    if invalid is not None:
        raise invalid
    return judged


def draft(payload: dict[str, Any], rules: Rules, now: int, volatile: bool = False) -> Draft:
    """Judge one event. Raises `TooLarge` or `Invalid` with the sentence of the first rule that it breaks."""
    stored = payload
    if "_at" in payload or next(iter(payload), None) != "type":
        stored = {"type": payload.get("type"), **payload}
        stored.pop("_at", None)
    json = encode(stored)
    if len(json) > rules.max_event_bytes:
        raise EventTooLarge(f"An event may have {rules.max_event_bytes} bytes, not {len(json)}.")
    kind = stored["type"]
    if not isinstance(kind, str) or not _is_type(kind):
        if "type" not in payload:
            raise Invalid("An event needs a type.")
        raise Invalid("A type has 1 to 64 characters: letters, digits and _ . : - only.")
    if _UNDERSCORE in json:  # most events have none
        for key in stored:
            if key.startswith("_"):
                raise Invalid(f"The key {_shown(key)} is reserved: keys that begin with _ belong to the server.")
    # Most events are flat, which is seen sooner than counted.
    if (json.rfind(b"{") or _BRACKET in json) and json.count(b"{") + json.count(b"[") > MAX_DEPTH:
        check_depth(stored, "An event")
    if volatile and kind in ALWAYS_DURABLE:
        raise Invalid(f"{kind} cannot be volatile.")
    if "_at" in payload:
        now = read_time(payload["_at"], "_at")
    check = _CHECKS.get(kind)
    effect = check(stored) if check is not None else None
    return Draft(kind, json, now, volatile or kind in rules.volatile, effect)


@lru_cache(1000)
def _is_type(text: str) -> bool:
    """Whether an event may have that type: a producer has few of them."""
    return EVENT_TYPE.fullmatch(text) is not None


def encode(value: Any) -> bytes:
    """`value` as JSON in ASCII, without spaces: safe for clients that split lines by Unicode's rules.

    Raises `Invalid` for a value that JSON cannot hold.
    """
    try:
        json = _encode(value)
    except (TypeError, OverflowError, UnicodeEncodeError, RecursionError) as error:
        raise Invalid(f"This cannot be written as JSON: {error}.") from None
    return json if json.isascii() else _NOT_ASCII.sub(_escape, json.decode()).encode()


def check_id(value: Any, what: str) -> str:
    """`value` if it is a valid id (section 1), else `Invalid`."""
    if not isinstance(value, str) or not RUN_ID.fullmatch(value):
        raise Invalid(f"{what} has 1 to 128 characters: letters, digits and . _ - only.")
    return value


def check_depth(value: dict[str, Any], what: str) -> None:
    """Raises `Invalid` if objects and arrays are nested deeper than section 3 allows."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list | tuple)
        ]
        if not level:
            return
    raise Invalid(f"{what} may be nested {MAX_DEPTH} deep at most.")


def check_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields for a run document, from `POST /runs` or an `update`. Raises `Invalid` for a field of the wrong type."""
    kept = {key: value for key, value in given.items() if key not in OF_THE_SERVER}
    for key, value in kept.items():
        if key.startswith("_"):
            raise Invalid(f"The field {_shown(key)} is reserved: keys that begin with _ belong to the server.")
        if len(key) > MAX_INDEXED:
            raise Invalid(f"The name of a field may have {MAX_INDEXED} characters, not {len(key)}.")
        if key in COUNTS or key == "duration":
            _check_count(key, value)
        elif key in _TEXTS and not isinstance(value, str) and (value is not None or key == "type"):
            raise Invalid(f"{key} must be text.")
        elif key == "startedAt" or (key == "finishedAt" and value is not None):
            kept[key] = read_time(value, key)
        elif key in ("logs", "logsTruncated"):
            raise Invalid(f"{key} cannot be set: post log events.")
        elif key in _ARRAYS and not isinstance(value, list):
            raise Invalid(f"{key} must be an array.")
        elif key == "results":
            for result in value:
                _check_result({"result": result})
    return kept


def read_time(value: Any, what: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 time; one without a zone is UTC. Raises `Invalid`."""
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        milliseconds = (time - _EPOCH_START) // timedelta(milliseconds=1)
    except (TypeError, ValueError, OverflowError):
        milliseconds = -1
    if not 0 <= milliseconds <= _LAST_TIME:
        raise Invalid(f"{what} must be an ISO 8601 time such as 2026-01-31T12:00:00.000Z.")
    return milliseconds


def iso(milliseconds: int) -> str:
    """ISO 8601 in UTC, to the millisecond, with Z."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def _check_result(payload: Mapping[str, Any]) -> dict[str, Any]:
    result = payload.get("result")
    test = result.get("testId") if isinstance(result, dict) else None
    if not isinstance(test, str) or not test:
        raise Invalid('A result needs a testId: {"type":"result","result":{"testId":…,"status":…}}.')
    return result  # type: ignore[return-value]


def _check_update(payload: Mapping[str, Any]) -> dict[str, Any]:
    run = payload.get("run")
    if not isinstance(run, dict):
        raise Invalid('An update needs the fields that it replaces: {"type":"update","run":{…}}.')
    return check_fields(run)


def _check_done(payload: Mapping[str, Any]) -> dict[str, Any]:
    if payload.get("status") not in FINAL_STATUSES:
        raise Invalid(f"A done needs a final status: {', '.join(FINAL_STATUSES)}.")
    for key in (*COUNTS, "testsGenerated"):
        _check_count(key, payload.get(key))
    if not isinstance(payload.get("error"), str | None):
        raise Invalid("error must be text.")
    return dict(payload)


_CHECKS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "result": _check_result,
    "update": _check_update,
    "done": _check_done,
}


def _check_count(key: str, value: Any) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53):
        raise Invalid(f"{key} must be a whole number, 0 or more.")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _reason(error: Exception) -> str:
    reason = str(error).removeprefix("JSON is malformed: ").removesuffix(".")
    return reason.replace("Input data was truncated", "it is cut short, or holds half a surrogate pair")


def _shown(key: str) -> str:
    return repr(key if len(key) <= 64 else key[:64] + "…")
