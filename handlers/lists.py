"""The live list: the newest runs of a workspace or a project, and then every change of a run (protocol, section 4)."""

from sentri_events.dialect import StreamDialect
from sentri_events.handlers.runs import LONGEST_PAGE, PAGE
from sentri_events.handlers.sockets import Socket
from sentri_events.handlers.streaming import RETRY, StreamingHandler
from sentri_events.listing import Page


class WorkspaceEventsHandler(StreamingHandler):
    """`/api/v1/workspace/events`."""

    async def get(self) -> None:
        """A list of all runs."""
        await self.follow_runs(None)

    async def head(self) -> None:
        """The headers, and the end."""
        await self.only_headers()

    async def follow_runs(self, project: str | None) -> None:
        """The stream, of all projects or of one."""
        dialect = self.dialect()
        if self.hub.stopping:
            self.send_away(dialect)
            return
        limit = max(1, self.number("limit", PAGE, LONGEST_PAGE))
        with self.admitted():
            await self.hub.follow_runs(self.workspace, project, limit, lambda page: self._start(page, dialect), dialect)

    def _start(self, page: Page, dialect: StreamDialect) -> Socket:
        """All who begin with the same page share its bytes."""
        asked = (dialect.chunked, dialect.named)
        made = page.begun.get(asked)
        if made is None:
            made = page.begun[asked] = dialect.opening(RETRY, [("runs", page.json, None)])
        return self.open_stream(dialect, made)


class ProjectEventsHandler(WorkspaceEventsHandler):
    """`/api/v1/projects/{id}/events`."""

    async def get(self, project: str) -> None:  # type: ignore[override]
        """A list of the project's runs."""
        await self.hub.store.project(self.workspace, self.check_run(project))
        await self.follow_runs(project)

    async def head(self, project: str) -> None:  # type: ignore[override]
        """The headers, and the end."""
        await self.hub.store.project(self.workspace, self.check_run(project))
        await self.only_headers()
