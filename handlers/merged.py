"""Following several runs on one connection (protocol, section 4)."""

from sentri_events.errors import BadRequest
from sentri_events.handlers.streaming import RETRY, StreamingHandler
from sentri_events.merge import check_runs, follow_all

MOST_RUNS = 50


class RunsEventsHandler(StreamingHandler):
    """`/api/v1/events`."""

    async def get(self) -> None:
        """The stream of all runs that the query names; 204 if nothing will ever follow."""
        runs, dialect = self._runs(), self.dialect()
        if self.hub.stopping:
            self.send_away(dialect)
            return
        with self.admitted(*runs):
            begun = await follow_all(
                self.hub,
                self.workspace,
                runs,
                self.last_event_id(),
                lambda: self.open_stream(dialect, dialect.opening(RETRY, [])),
                dialect,
                logs=self.logs(),
                snapshot=self.flag("snapshot", True),
            )
        if not begun:
            self.answer_nothing()

    async def head(self) -> None:
        """The headers, and the end."""
        await check_runs(self.hub, self.workspace, self._runs())
        await self.only_headers()

    def _runs(self) -> list[str]:
        runs = [self.check_run(run) for run in self.get_query_arguments("run")]
        if not 1 <= len(runs) <= MOST_RUNS:
            raise BadRequest(f"run must be given, and {MOST_RUNS} times at most.")
        if len(set(runs)) < len(runs):
            raise BadRequest("Each run may be given once.")
        return runs
