"""What a browser lets pages do: which other origins may ask, and whether a page of ours made it write with a cookie."""

import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from functools import lru_cache

from tornado.httputil import HTTPServerRequest, split_host_and_port

API_POLICY = "default-src 'none'; frame-ancestors 'none'"
CSRF_COOKIE, CSRF_HEADER = "_csrf", "X-CSRF-Token"
SENT = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-CSRF-Token, X-Request-Id"
SHOWN = "Idempotency-Replayed, Retry-After, X-Request-Id"
REMEMBERED = "600"  # seconds that a browser need not ask again


def allowance(origin: str | None, allowed: frozenset[str]) -> Mapping[str, str]:
    """The headers that let a page of that origin read the answer, with the browser's cookies."""
    if origin is None or origin not in allowed:
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": SHOWN,
    }


def preflight(methods: Iterable[str]) -> Mapping[str, str]:
    """The headers that say beforehand what such a page may send."""
    return {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": SENT,
        "Access-Control-Max-Age": REMEMBERED,
    }


@lru_cache(100)
def is_own_name(host: str) -> bool:
    """Whether `host` is an address or localhost. The owner of any other name can let it lead here, and then a browser
    takes his page for one of ours (DNS rebinding)."""
    name, _ = split_host_and_port(host.lower())
    try:
        return bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def is_forged(request: HTTPServerRequest, allowed: frozenset[str], asked: bool) -> bool:
    """Whether another site may have made the browser send this. `asked`: by a cookie, so that a browser is known to
    have sent it, and has to show that it was not; otherwise only what a browser says of itself counts."""
    headers = request.headers
    if "Sec-Fetch-Site" in headers and headers["Sec-Fetch-Site"] == "same-origin":
        return False
    if "Origin" in headers:
        origin = headers["Origin"]
        host = origin.partition("://")[2]
        if origin in allowed or (host and host == request.host):
            return False
    elif "Sec-Fetch-Site" not in headers and not asked:
        return False
    sent, kept = headers.get(CSRF_HEADER, ""), request.cookies.get(CSRF_COOKIE)
    return not (sent and kept is not None and hmac.compare_digest(sent.encode(), kept.value.encode()))
