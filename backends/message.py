"""The message on the wire (protocol, section 7): an event's JSON and, under keys of ours, who sent it and its place.

What comes in may be anything: the original speaks on the same channels, and whoever else has the password.
"""

import re
import time
from functools import lru_cache
from typing import Any, NamedTuple

from sentri_events.errors import BadRequest, Invalid
from sentri_events.event import MAX_DEPTH, Event, check_depth, encode, iso, read_json, read_time
from sentri_events.settings import EVENT_TYPE

SIGNED = 200
LARGE = 64 << 10  # a stored event with more bytes than that is only announced
HINT = "_hint"
CHANNEL = b"sentri:run:"
WORKSPACE_CHANNEL = b"sentri:workspace:"
SPENT_CHANNEL = b"sentri:events:spent"
EPOCH = re.compile(r"[a-z0-9]{6,16}")
# The events of a batch share their time, and turning it to text and back costs more than all the rest.
_iso = lru_cache(1024)(iso)
_read_time = lru_cache(1024)(read_time)


class Hint(NamedTuple):
    """An event of that number is in the store."""

    run: str
    epoch: str
    seq: int


class Bell(NamedTuple):
    """Something has changed in that workspace. It waits and is sent as what is volatile: the next one says as much."""

    workspace: str
    seq: int = 0
    json: bytes = b""


class Spent(NamedTuple):
    """How many requests of each caller were granted: a JSON object."""

    json: bytes = b"{}"
    seq: int = 0


Letter = Event | Hint | Bell | Spent


def channel_of(run: str) -> bytes:
    """Where everything about the run is said; the original's name for it."""
    return CHANNEL + run.encode()


def address(letter: Letter) -> bytes:
    """The channel that it is for."""
    if isinstance(letter, Spent):
        return SPENT_CHANNEL
    return WORKSPACE_CHANNEL + letter.workspace.encode() if isinstance(letter, Bell) else channel_of(letter.run)


def signature(origin: str) -> bytes:
    """What stands in the last `SIGNED` bytes of every message of that origin, and of no other."""
    return b'"_origin":"%b"' % origin.encode()


def to_message(letter: Letter, origin: str) -> bytes:
    """What goes over the wire. A stored event that is too large goes as a hint, a volatile one always whole."""
    if isinstance(letter, Bell):
        return b'{"type":"_hint",%b}' % signature(origin)
    if isinstance(letter, Spent):
        return b'{"type":"_spent","requests":%b,%b}' % (letter.json, signature(origin))
    place = b'"_epoch":"%b","_seq":%d' % (letter.epoch.encode(), letter.seq)
    if isinstance(letter, Hint) or (letter.seq and len(letter.json) > LARGE):
        return b'{"type":"_hint",%b,%b}' % (signature(origin), place)
    if not letter.seq:
        return b"%b,%b}" % (letter.json[:-1], signature(origin))
    return b'%b,%b,%b,"_at":"%b"}' % (letter.json[:-1], signature(origin), place, _iso(letter.at).encode())


def from_message(run: str, message: bytes) -> Event | Hint:
    """What a message of that run says, without the keys that are ours.

    Raises `BadRequest` if it is not a JSON object, `Invalid` if the object is no event.
    """
    payload = read_json(message)
    if not isinstance(payload, dict):
        raise BadRequest("It is not a JSON object.")
    kind, seq, epoch = payload.get("type"), payload.get("_seq"), payload.get("_epoch")
    if not isinstance(kind, str) or not EVENT_TYPE.fullmatch(kind):
        raise Invalid("It has no valid type.")
    if message.count(b"{") + message.count(b"[") > MAX_DEPTH:
        check_depth(payload, "It")
    if seq is None:
        return Event(run, "", 0, time.time_ns() // 1_000_000, kind, _own_keys(payload))
    if type(seq) is not int or seq < 1 or not isinstance(epoch, str) or not EPOCH.fullmatch(epoch):
        raise Invalid("Its place in the run cannot be read.")
    if kind == HINT:
        return Hint(run, epoch, seq)
    return Event(run, epoch, seq, _time(payload.get("_at")), kind, _own_keys(payload))


def read_spent(message: bytes) -> dict[str, int]:
    """How many requests of each caller a message says were granted. Raises `BadRequest`, `Invalid`."""
    payload = read_json(message)
    requests = payload.get("requests") if isinstance(payload, dict) else None
    if not isinstance(requests, dict) or not all(type(one) is int and 0 < one < 1 << 31 for one in requests.values()):
        raise Invalid("It does not say how many requests of whom.")
    return requests


def _time(at: Any) -> int:
    if not isinstance(at, str):
        raise Invalid("It does not say when it happened.")
    return _read_time(at, "_at")


def _own_keys(payload: dict[str, Any]) -> bytes:
    own = {key: value for key, value in payload.items() if key[:1] != "_"}
    return encode({"type": own.pop("type"), **own})
