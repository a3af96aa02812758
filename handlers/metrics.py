"""`/metrics`: the numbers of this server, for Prometheus."""

from sentri_events.access import Access
from sentri_events.caller import SCRAPER
from sentri_events.handlers.base import BaseHandler
from sentri_events.hub import Hub
from sentri_events.metrics import Metrics


class MetricsHandler(BaseHandler):
    """`/metrics`: of all processes, whichever is asked."""

    reads = SCRAPER

    def initialize(self, hub: Hub, access: Access, metrics: Metrics) -> None:  # type: ignore[override]
        """`metrics` has the numbers."""
        super().initialize(hub, access)
        self.metrics = metrics

    async def get(self) -> None:
        """Text in the format that the asker understands: Prometheus' own, or OpenMetrics."""
        body, content_type = await self.metrics.exposition(self.header("Accept"))
        self.set_header("Content-Type", content_type)
        self.finish(body)
