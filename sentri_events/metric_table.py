"""The table of metrics: name, help, and how a process's own value is read. What is not here is not shown.

A label has a fixed set of values, so no run, user or address can ever become one; and a row of numbers in shared memory
always has the same length.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from sentri_events.hub import Hub
from sentri_events.meter import CAUSES, ENDS, EVENTS, LIMITS, OTHER, REASONS, RESETS, SECONDS, Spread

PREFIX = "sentri_events_"


class Streams(Protocol):
    """What the streams of a server tell of themselves."""

    ended: dict[str, int]

    @property
    def open(self) -> Collection[Any]:
        """Those that are open."""

    @property
    def sent(self) -> int:
        """Bytes on all of them, since the start."""


class Source(NamedTuple):
    """Where the numbers of a process are read."""

    hub: Hub
    streams: Streams


class Family(NamedTuple):
    """A metric. Its value is a number; of a metric with a `label` a mapping with a number for each of `values`; of a
    histogram, which has `bounds`, a `Spread`."""

    kind: str
    name: str
    help: str
    read: Callable[[Source], float | Mapping[str, float] | Spread]
    label: str = ""
    values: Sequence[str] = ("",)
    bounds: Sequence[float] = ()

    @property
    def size(self) -> int:
        """How many numbers it takes."""
        return len(self.bounds) + 2 if self.bounds else len(self.values)

    def numbers(self, source: Source) -> list[float]:
        """Its numbers now."""
        value = self.read(source)
        if isinstance(value, Spread):
            return [*value.counts, value.sum]
        return [value[name] for name in self.values] if isinstance(value, Mapping) else [value]

    def metric(self, numbers: Sequence[float]) -> Metric:
        """As Prometheus' client library has it."""
        labels = [self.label] if self.label else []
        if self.bounds:
            *counts, total = numbers
            names = [*(f"{float(bound)}" for bound in self.bounds), "+Inf"]
            buckets = [(name, sum(counts[: place + 1])) for place, name in enumerate(names)]
            return HistogramMetricFamily(PREFIX + self.name, self.help, buckets=buckets, sum_value=total)
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = kind(PREFIX + self.name, self.help, labels=labels)
        for value, number in zip(self.values, numbers, strict=True):
            family.add_metric([value] if labels else [], number)
        return family


def _of_backend(name: str) -> Callable[[Source], float]:
    return lambda source: source.hub.backend.counts.get(name, 0)


FAMILIES = (
    Family("gauge", "processes", "Server processes that are added up here.", lambda of: 1),
    Family("gauge", "streams_open", "Streams that are open.", lambda of: len(of.streams.open)),
    Family("gauge", "viewers", "Followers of runs: streams, and whoever waits for a page.", lambda of: of.hub.viewers),
    Family(
        "counter",
        "streams_closed",
        f"Streams that were closed, by why: {', '.join(f'{end} ({words})' for end, words in ENDS.items())}.",
        lambda of: of.streams.ended,
        "reason",
        tuple(ENDS),
    ),
    Family("counter", "stream_bytes", "Bytes that were sent on streams.", lambda of: of.streams.sent),
    Family(
        "counter",
        "published_events",
        "Events that were published here.",
        lambda of: {"durable": of.hub.meter.stored, "volatile": of.hub.meter.volatile},
        "kind",
        ("durable", "volatile"),
    ),
    Family(
        "counter",
        "published_bytes",
        "Bytes of the JSON of events that were published here.",
        lambda of: of.hub.meter.published_bytes,
    ),
    Family(
        "counter",
        "delivered_events",
        "Events that viewers were given, once for each viewer; what its ?types= leaves out counts too.",
        lambda of: of.hub.meter.delivered,
    ),
    Family(
        "histogram",
        "delivery_lag_seconds",
        "From the commit of an event (or its arrival from another process) until all live viewers of its run here were "
        "written to; observed once for all events that were written together.",
        lambda of: of.hub.meter.lag,
        bounds=SECONDS,
    ),
    Family(
        "counter",
        "catch_ups",
        "Viewers that had to catch up with their run, by why: new (it went on while they began), returned (with a "
        "position), slow (their socket took no more), trimmed (events were pruned before they came here).",
        lambda of: of.hub.meter.catch_ups,
        "cause",
        CAUSES,
    ),
    Family(
        "counter", "catch_up_reads", "Pages of events read for viewers that catch up.", lambda of: of.hub.meter.pages
    ),
    Family(
        "counter",
        "holes",
        "Times that events did not come by themselves and were read from the store.",
        lambda of: of.hub.meter.holes,
    ),
    Family(
        "counter",
        "resets",
        "Viewers whose position could not be continued, by why.",
        lambda of: of.hub.meter.resets,
        "reason",
        RESETS,
    ),
    Family(
        "counter",
        "refused_requests",
        "Requests that were answered with an error, by why.",
        lambda of: of.hub.meter.refused,
        "reason",
        (*REASONS.values(), *LIMITS, OTHER),
    ),
    Family(
        "histogram",
        "store_transaction_seconds",
        "From the beginning of a transaction to its commit.",
        lambda of: of.hub.meter.transactions,
        bounds=SECONDS,
    ),
    Family(
        "histogram",
        "store_transaction_events",
        "Events that were committed together.",
        lambda of: of.hub.meter.batches,
        bounds=EVENTS,
    ),
    Family("counter", "store_failures", "Transactions that failed.", lambda of: of.hub.meter.failures),
    Family("gauge", "store_down", "Processes that cannot write to the store.", lambda of: of.hub.store.down),
    Family(
        "gauge",
        "backend_down",
        "Processes that others do not hear at once.",
        lambda of: of.hub.backend.trouble is not None,
    ),
    Family("counter", "backend_outages", "Times that the backend was lost.", _of_backend("outages")),
    Family("counter", "backend_published_events", "Events for other processes.", _of_backend("published")),
    Family(
        "counter",
        "backend_dropped_events",
        "Events for other processes that were not sent as they are.",
        _of_backend("dropped"),
    ),
    Family("counter", "backend_received_messages", "Messages of other processes.", _of_backend("received")),
    Family(
        "counter",
        "backend_refused_messages",
        "Messages of other processes that were no events.",
        _of_backend("refused"),
    ),
)
