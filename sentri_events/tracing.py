"""Traces for OpenTelemetry: a span for each publish, one within it for the store, one for each fan-out to the viewers.

These are the hub, the store and the channel, with spans around what they do; where nobody asks for traces, the plain
ones are made and nothing is paid. A fan-out that several publishes share belongs to the first and is linked to all.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, Tracer

from sentri_events import __version__
from sentri_events.backend import Backend
from sentri_events.channel import Channel
from sentri_events.event import Draft, Event
from sentri_events.hub import Hub
from sentri_events.settings import Settings
from sentri_events.store import Store
from sentri_events.store_write import Answer, Once

RUN, EVENTS, VIEWERS = "sentri_events.run", "sentri_events.events", "sentri_events.viewers"
MOST_LINKS = 100
FLUSH = 2.0  # seconds


def open_provider() -> tuple[TracerProvider, Callable[[], None]]:
    """Sends spans where OTEL_EXPORTER_OTLP_ENDPOINT says, as OpenTelemetry's own variables want it;
    and what ends it, with `FLUSH` seconds at most for those that wait to be sent."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    name = os.environ.get("OTEL_SERVICE_NAME") or "sentri-events"
    resource = Resource.create({SERVICE_NAME: name, SERVICE_VERSION: __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def close() -> None:
        ending = threading.Thread(target=provider.shutdown, daemon=True)  # it would wait longer for who does not answer
        ending.start()
        ending.join(FLUSH)

    return provider, close


class TracedStore(Store):
    """A span for the time from the asking until the commit, within which others may share the transaction."""

    def __init__(self, url: str, tracer: Tracer) -> None:
        super().__init__(url)
        self.tracer = tracer

    async def append(self, workspace: str, run: str, drafts: Sequence[Draft], *args: Any, **kwargs: Any) -> Answer:
        """As `Store.append`."""
        with self.tracer.start_as_current_span("store", attributes={RUN: run, EVENTS: len(drafts)}):
            return await super().append(workspace, run, drafts, *args, **kwargs)


class TracedChannel(Channel):
    """`causes` are the publishes that the next cycle writes out."""

    causes: tuple[SpanContext, ...] = ()

    def _write_all(self, events: list[Event]) -> Iterator[None]:
        causes, self.causes = self.causes, ()
        if not causes:  # what other instances publish
            yield from super()._write_all(events)
            return
        assert isinstance(self._store, TracedStore)
        span = self._store.tracer.start_span(
            "fan-out",
            trace.set_span_in_context(trace.NonRecordingSpan(causes[0])),
            attributes={RUN: self.run, EVENTS: len(events), VIEWERS: self.viewers},
            links=[Link(cause) for cause in causes[:MOST_LINKS]],
        )
        try:
            yield from super()._write_all(events)
        finally:
            span.end()


class TracedHub(Hub):
    """Knows which publishes of a run are under way, for the fan-out that follows."""

    channel_kind = TracedChannel
    traced = True

    def __init__(self, store: TracedStore, backend: Backend, settings: Settings) -> None:
        super().__init__(store, backend, settings)
        self._tracer = store.tracer
        self._under_way: dict[str, dict[int, SpanContext]] = {}

    async def publish(
        self, workspace: str, run: str, drafts: Sequence[Draft], once: Once | None = None, project: str | None = None
    ) -> Answer:
        """As `Hub.publish`."""
        with self._tracer.start_as_current_span("publish", attributes={RUN: run, EVENTS: len(drafts)}) as span:
            under_way = self._under_way.setdefault(run, {})
            context = span.get_span_context()
            under_way[context.span_id] = context
            try:
                return await super().publish(workspace, run, drafts, once, project)
            finally:
                under_way.pop(context.span_id, None)
                if not under_way and self._under_way.get(run) is under_way:
                    del self._under_way[run]

    def _tell(self, events: list[Event], since: float) -> None:
        for run in {event.run for event in events}:
            channel = self._channels.get(run)
            if isinstance(channel, TracedChannel):
                channel.causes = (*channel.causes, *self._under_way.get(run, {}).values())
        super()._tell(events, since)
