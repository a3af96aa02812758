"""One line for each request and each stream: who, what, how long, how much, and why it ended.

What went well is for `debug`: nobody wants a line for every publish, nor a thousand when a run ends. What was refused
or cut off is for `info`; what we broke is an error. A store or a Redis that is away says so itself, once.
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

from tornado.web import RequestHandler

from sentri_events.caller import Caller
from sentri_events.limits import Place
from sentri_events.meter import ENDS

LONGEST_WHY = 200
log = logging.getLogger(__name__)


class Client(NamedTuple):
    """Whose stream it is: the path without its query, the address, the caller, and the request's id; and the places
    that it takes up."""

    path: str
    address: str
    who: Caller
    request: str
    places: Sequence[Place] = ()


def log_request(handler: RequestHandler) -> None:
    """What Tornado calls when a request is answered."""
    status = handler.get_status()
    level = logging.DEBUG
    if status >= HTTPStatus.BAD_REQUEST:
        broken = status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.SERVICE_UNAVAILABLE
        level = logging.ERROR if broken else logging.INFO
    if not log.isEnabledFor(level):
        return
    request = handler.request
    about = {
        "method": request.method,
        "path": request.path,
        "status": status,
        "milliseconds": round(1000 * request.request_time(), 1),
        "bytesIn": getattr(handler, "received", 0),
        "bytesOut": int(handler._headers.get("Content-Length", 0)),
        "who": str(getattr(handler, "caller", "nobody")),
        "address": request.remote_ip,
        "why": getattr(handler, "why", "")[:LONGEST_WHY],
    }
    words = "%(method)s %(path)s %(status)d, %(milliseconds).1f ms, %(bytesIn)d bytes in, %(bytesOut)d out, "
    words += "%(who)s (%(address)s)" + (": %(why)s" if about["why"] else "")
    log.log(level, words, about, extra={"about": about, "request": getattr(handler, "request_id", "")})


def log_stream(client: Client, seconds: float, sent: int, why: str, error: OSError | None) -> None:
    """`why` is one of `ENDS`; `error` is what the system said of the socket."""
    level = logging.INFO if why in ("stalled", "cut") else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    about = {
        "stream": client.path,
        "seconds": round(seconds, 1),
        "bytesOut": sent,
        "who": str(client.who),
        "address": client.address,
        "why": ENDS[why] if error is None else f"{ENDS[why]} ({error.strerror})",
    }
    words = "stream %(stream)s %(seconds).1f s, %(bytesOut)d bytes out, %(who)s (%(address)s): %(why)s"
    log.log(level, words, about, extra={"about": about, "request": client.request})
