"""The URL table, on one screen. `routes` mounts it in any Tornado application."""

import re
from typing import Any

from tornado.routing import URLSpec

from sentri_events.access import Access
from sentri_events.handlers.admin import AdminStreamHandler, AdminStreamsHandler
from sentri_events.handlers.artifacts import ArtifactHandler
from sentri_events.handlers.base import MissingHandler, MovedHandler
from sentri_events.handlers.description import DescriptionHandler, read_description
from sentri_events.handlers.health import HealthHandler, ReadyHandler
from sentri_events.handlers.lists import ProjectEventsHandler, WorkspaceEventsHandler
from sentri_events.handlers.merged import RunsEventsHandler
from sentri_events.handlers.metrics import MetricsHandler
from sentri_events.handlers.pages import AssetHandler, PageHandler, Pages
from sentri_events.handlers.projects import ProjectHandler, ProjectRunsHandler, ProjectsHandler
from sentri_events.handlers.publish import PublishHandler
from sentri_events.handlers.runs import AbortHandler, AliveHandler, RunHandler, RunsHandler
from sentri_events.handlers.sockets import Streams
from sentri_events.handlers.stream import StreamHandler
from sentri_events.handlers.tickets import TicketsHandler
from sentri_events.hub import Hub
from sentri_events.metrics import Metrics
from sentri_events.siblings import Siblings


class EventsHandler(StreamHandler, PublishHandler):
    """`/api/v1/runs/{id}/events`: following and publishing have one path."""


def routes(
    hub: Hub,
    prefix: str = "",
    streams: Streams | None = None,
    access: Access | None = None,
    metrics: Metrics | None = None,
    siblings: Siblings | None = None,
) -> list[URLSpec]:
    """All routes, below `prefix` (such as `/events`), for `tornado.web.Application`.

    `streams` holds the open streams, for who wants to wait until they are closed: `await streams.drained(grace)`.
    `access` is who may, by the hub's settings unless it is given. `metrics` and `siblings` are for who has
    several processes.
    """
    if access is None:
        access = Access(hub.settings, hub.store)
    common: dict[str, Any] = {"hub": hub, "access": access}
    if streams is None:
        streams = Streams(hub.settings.stall_timeout)
    streams.terms = access.terms
    admin = {**common, "streams": streams, "siblings": siblings or Siblings()}
    streams.lifetime, streams.farewell = hub.settings.stream_lifetime, hub.audience.farewell
    description = {**common, "description": read_description()}
    page = {**common, "pages": Pages()}
    streaming = {**common, "streams": streams}
    prefix = re.escape(prefix)
    api = f"{prefix}/api/v1"
    return [  # tried from the first on: the busiest is the first
        URLSpec(rf"{api}/runs/([^/]+)/events", EventsHandler, streaming),
        URLSpec(rf"{api}/runs", RunsHandler, common),
        URLSpec(rf"{api}/runs/([^/]+)", RunHandler, common),
        URLSpec(rf"{api}/runs/([^/]+)/alive", AliveHandler, common),
        URLSpec(rf"{api}/runs/([^/]+)/abort", AbortHandler, common),
        URLSpec(rf"{api}/projects", ProjectsHandler, common),
        URLSpec(rf"{api}/projects/([^/]+)", ProjectHandler, common),
        URLSpec(rf"{api}/projects/([^/]+)/runs", ProjectRunsHandler, common),
        URLSpec(rf"{api}/projects/([^/]+)/events", ProjectEventsHandler, streaming),
        URLSpec(rf"{api}/events", RunsEventsHandler, streaming),
        URLSpec(rf"{api}/workspace/events", WorkspaceEventsHandler, streaming),
        URLSpec(rf"{api}/admin/streams", AdminStreamsHandler, admin),
        URLSpec(rf"{api}/admin/streams/([^/]+)", AdminStreamHandler, admin),
        URLSpec(rf"{api}/tickets", TicketsHandler, common),
        URLSpec(rf"{prefix}/health", HealthHandler, common),
        URLSpec(rf"{prefix}/health/ready", ReadyHandler, common),
        URLSpec(rf"{prefix}/", PageHandler, page),
        URLSpec(rf"{prefix}/runs/([^/]+)", PageHandler, page),
        URLSpec(rf"{prefix}/static/([0-9a-f]+)/([a-z0-9./-]+)", AssetHandler, page),
        URLSpec(rf"{prefix}/metrics", MetricsHandler, {**common, "metrics": metrics or Metrics(hub, streams)}),
        URLSpec(rf"{prefix}/openapi\.json", DescriptionHandler, description),
        URLSpec(rf"{prefix}/artifacts/(.*)", ArtifactHandler, common),
        URLSpec(rf"{prefix}/api/runs/.*", MovedHandler, common),
        URLSpec(rf"{prefix}/api/.*", MissingHandler, common),
    ]
