"""Whether the server lives, and whether it can do its work."""

from sentri_events.handlers.base import BaseHandler


class HealthHandler(BaseHandler):
    """`/health`: the process answers."""

    reads = None

    def get(self) -> None:
        """200."""
        self.answer({"status": "alive"})


class ReadyHandler(BaseHandler):
    """`/health/ready`: tried now, not remembered."""

    reads = None

    async def get(self) -> None:
        """503 when nothing can be stored or the server stops; 200 with `degraded` when others do not hear us."""
        parts = {"store": await self.hub.store.trouble(), "backend": self.hub.backend.trouble}
        parts["server"] = "The server is stopping." if self.hub.stopping else None
        why = {part: trouble for part, trouble in parts.items() if trouble is not None}
        if "store" in why or "server" in why:
            self.answer({"error": " ".join(why.values()), "status": "unavailable", **why}, 503)
        else:
            self.answer({"status": "degraded" if why else "ready", **why})
