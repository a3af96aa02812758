"""How much is allowed to whom: streams at a time, requests a second. For a delivered event nothing of it is asked.

An address of this machine is never counted: it is a developer's, or that of a proxy that stands for everyone.
"""

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from sentri_events.errors import TooMany
from sentri_events.settings import Settings

KNOWN = 10_000  # of those who publish
BURST = 2.0  # seconds' worth of requests that may come at once
DEBT = 60.0  # seconds' worth that others may have granted beyond that: nonsense from the backend locks out no longer
TOLD = 0.1  # seconds between two times that the others are told
RETRY_AFTER = 5  # seconds until a stream is worth another try
_WHOSE = {
    "streams": "",
    "streams_per_run": " of this run",
    "streams_per_caller": " of yours",
    "streams_per_address": " of your address",
}
_LOOPBACK = ("127.", "::1", "::ffff:127.")


class Limits:
    """Counts for one process; requests also for the others, once it is told how to `share`. `clock` is in seconds."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._proxies = settings.proxies
        self._rate = float(settings.max_requests_per_second)
        self._clock = clock
        self._places: dict[tuple[str, str], Place] = {}
        self._all = Place("streams", "", settings.max_streams, self._places)
        self._most = {
            "streams_per_run": settings.max_streams_per_run,
            "streams_per_caller": settings.max_streams_per_caller,
            "streams_per_address": settings.max_streams_per_address,
        }
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._tell: Callable[[Mapping[str, int]], None] | None = None
        self._untold: dict[str, int] = {}

    def address(self, peer: str, forwarded: str) -> str:
        """Whose request it is: of the addresses in `X-Forwarded-For`, the last one that no trusted proxy has."""
        if not self._proxies:
            return peer
        address = peer
        for hop in reversed(forwarded.split(",")):
            if not self._is_proxy(address):
                break
            try:
                address = str(ipaddress.ip_address(hop.strip()))
            except ValueError:
                break
        return address

    def _is_proxy(self, address: str) -> bool:
        known = ipaddress.ip_address(address)
        return any(known in network for network in self._proxies)

    def enter(self, runs: Sequence[str], caller: str, address: str) -> Sequence["Place"]:
        """A place for a stream with each of them whose name is given. Raises `TooMany`, and then takes none."""
        asked = (
            *(("streams_per_run", run) for run in runs),
            ("streams_per_caller", caller),
            ("streams_per_address", neighbourhood(address)),
        )
        places = [self._all, *(self._place(limit, name) for limit, name in asked if name)]
        for place in places:
            if place.taken >= place.most:
                raise TooMany(place.limit, place.sentence, RETRY_AFTER)
        for place in places:
            place.take()
        return tuple(places)

    def _place(self, limit: str, name: str) -> "Place":
        return self._places.get((limit, name)) or Place(limit, name, self._most[limit], self._places)

    def spend(self, who: str) -> None:
        """Count a request that writes. Raises `TooMany`."""
        bucket = self._bucket(who)
        if bucket.tokens < 1:
            sentence = f"More than {self._rate:g} requests a second of one caller that write something."
            raise TooMany("requests_per_second", sentence, math.ceil((1 - bucket.tokens) / self._rate))
        bucket.tokens -= 1
        if self._tell is not None:
            if not self._untold:
                asyncio.get_running_loop().call_later(TOLD, self._tell_others, self._tell)
            self._untold[who] = self._untold.get(who, 0) + 1

    def share(self, tell: Callable[[Mapping[str, int]], None]) -> None:
        """From now on `tell` is called with how many requests of each caller were granted since it was last.

        Nobody waits for the others: what all grant at the same moment is beyond the bound, and is paid back.
        """
        self._tell = tell

    def spent(self, who: str, requests: int) -> None:
        """Another process has granted them."""
        bucket = self._bucket(who)
        bucket.tokens = max(bucket.tokens - requests, -DEBT * self._rate)

    def _tell_others(self, tell: Callable[[Mapping[str, int]], None]) -> None:
        untold, self._untold = self._untold, {}
        tell(untold)

    def _bucket(self, who: str) -> "Bucket":
        """As it is now."""
        now = self._clock()
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = self._buckets[who] = Bucket(self._rate * BURST, now)
            if len(self._buckets) > KNOWN:
                self._buckets.popitem(last=False)
        bucket.fill(now, self._rate)
        self._buckets.move_to_end(who)
        return bucket


class Place:
    """How many streams there are of one kind, and how many there may be. It is known while there are any."""

    __slots__ = ("_known", "limit", "most", "name", "taken")

    def __init__(self, limit: str, name: str, most: float, known: dict[tuple[str, str], "Place"]) -> None:
        self.limit = limit
        self.name = name
        self.most = most
        self.taken = 0
        self._known = known

    def take(self) -> None:
        """One more."""
        self.taken += 1
        self._known[self.limit, self.name] = self

    def free(self) -> None:
        """One less."""
        self.taken -= 1
        if not self.taken:
            del self._known[self.limit, self.name]

    @property
    def sentence(self) -> str:
        """What is said to whom there is no room for; it names nobody."""
        return f"There are {self.taken} streams{_WHOSE[self.limit]} already, and no more are allowed."


class Bucket:
    """A token bucket: what one caller may still do at once."""

    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at

    def fill(self, now: float, rate: float) -> None:
        """What has come in since."""
        self.tokens = min(BURST * rate, self.tokens + (now - self.at) * rate)
        self.at = now


def neighbourhood(address: str) -> str:
    """Who counts as one address: with IPv6, a /64, of which everyone has plenty. Nothing for this machine itself."""
    if address.startswith(_LOOPBACK):
        return ""
    if ":" not in address:
        return address
    known = ipaddress.IPv6Address(address.partition("%")[0])
    return str(known.ipv4_mapped or ipaddress.IPv6Network((int(known) >> 64 << 64, 64)))
