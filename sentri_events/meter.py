"""What has happened in this process, in plain numbers. Whoever does a thing counts it, once a cycle of a channel, a
commit or a request, and never once a viewer.

The names by which the numbers are known outside stand in `metrics`.
"""

from bisect import bisect_left
from http import HTTPStatus

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EVENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
CAUSES = ("new", "returned", "slow", "trimmed")
RESETS = ("epoch", "future", "trimmed", "malformed")
REASONS = {
    HTTPStatus.BAD_REQUEST: "bad_request",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid",
    HTTPStatus.INTERNAL_SERVER_ERROR: "failed",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}
OTHER = "other"
LIMITS = (  # the bounds that a request can meet, as the settings name them, without their `max_`
    "body_bytes",
    "event_bytes",
    "batch_events",
    "url_bytes",
    "header_bytes",
    "requests_per_second",
    "streams",
    "streams_per_run",
    "streams_per_caller",
    "streams_per_address",
    "connections",
    "request_timeout",
    "stall_timeout",
)
ENDS = {
    "ended": "ended with what it followed",
    "away": "sent away, to come back",
    "dismissed": "token expired or revoked",
    "left": "client left",
    "stalled": "took nothing for too long",
    "cut": "cut at the end of the grace",
}


class Spread:
    """How values are spread: `counts[n]` of them were at most `bounds[n]` and more than the bound before."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Meter:
    """`stored` and `volatile` are events that were published here, `published_bytes` their JSON; `delivered` counts
    each of them once a viewer. `lag` has, a cycle each, the seconds from the commit until the last viewer's bytes were
    handed to the system; `transactions` the seconds, `batches` the events of a commit; `failures` are those that did
    not succeed.

    `holes` counts the times that events did not come by themselves, `pages` the reads for viewers that catch up.
    """

    def __init__(self) -> None:
        self.stored = self.volatile = self.published_bytes = self.delivered = 0
        self.lag = Spread(SECONDS)
        self.transactions = Spread(SECONDS)
        self.batches = Spread(EVENTS)
        self.failures = 0
        self.committed_at = 0.0  # by time.monotonic, of the events that `Store.committed` is being told
        self.catch_ups = dict.fromkeys(CAUSES, 0)
        self.resets = dict.fromkeys(RESETS, 0)
        self.holes = self.pages = 0
        self.refused = dict.fromkeys((*REASONS.values(), *LIMITS, OTHER), 0)

    def refuse(self, status: int, limit: str = "") -> None:
        """A request was answered with that status, of an error; or with none, where that is the `limit` that it met."""
        self.refused[limit or REASONS.get(HTTPStatus(status), OTHER)] += 1
