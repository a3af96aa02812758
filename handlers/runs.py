"""Runs: making them, listing them, reading one, and what is said about one besides its events."""

from typing import Any

from sentri_events.caller import PUBLISHER
from sentri_events.errors import BadRequest, Invalid, NotFound
from sentri_events.event import FINAL_STATUSES, check_depth, check_id, read_json
from sentri_events.handlers.base import BaseHandler
from sentri_events.hub import LOGS
from sentri_events.lists import page_document

PAGE = 50
LONGEST_PAGE = 500
LONGEST_TEXT = 128


class RunsHandler(BaseHandler):
    """`/api/v1/runs`."""

    writes = PUBLISHER

    async def get(self) -> None:
        """Runs, newest first."""
        await self.list_runs(self.get_query_argument("project", None))

    async def list_runs(self, project: str | None) -> None:
        """A page of runs, of all projects or of one."""
        status = self.get_query_argument("status", None)
        if status is not None and status not in ("running", *FINAL_STATUSES):
            raise BadRequest(f"status must be one of running, {', '.join(FINAL_STATUSES)}.")
        limit = max(1, self.number("limit", PAGE, LONGEST_PAGE))
        before = self.number("cursor", 0, 1 << 62) or None
        text = self.get_query_argument("text", "")
        if len(text) > LONGEST_TEXT:
            raise BadRequest(f"text may have {LONGEST_TEXT} characters.")
        data, following = await self.hub.store.runs(self.workspace, project, status, limit, before, text)
        self.answer(page_document(data, following))

    async def post(self) -> None:
        """Make a run; 201 with its document."""
        once = None
        scope = f"runs/{self.workspace}"
        try:
            once = self.once()
            id, project, fields = _read_run(self.body)
            if self.caller.project not in (None, project):
                raise NotFound
            answer = await self.hub.create_run(
                self.workspace, project, fields, id=id, once=once, make_project=self.access.open
            )
        except (BadRequest, Invalid):
            earlier = None if once is None else await self.hub.store.answered(scope, once)
            if earlier is None:
                raise
            answer = earlier
        if answer.replayed:
            self.set_header("Idempotency-Replayed", "true")
        self.answer_document(answer.json, 201)


class RunHandler(BaseHandler):
    """`/api/v1/runs/{id}`."""

    async def get(self, run: str) -> None:
        """The run document."""
        self.check_run(run)
        await self.hub.head(self.workspace, run)
        taken = await self.hub.store.snapshot(run, self.number("logs", LOGS, 1_000_000), self.flag("meta"))
        self.answer_document(taken.document)


class AliveHandler(BaseHandler):
    """`/api/v1/runs/{id}/alive`."""

    writes = PUBLISHER

    async def post(self, run: str) -> None:
        """204: the producer is still there."""
        self.check_run(run)
        await self.hub.store.hear(self.workspace, run, self.caller.project)
        self.clear_header("Content-Type")
        self.set_status(204)


class AbortHandler(BaseHandler):
    """`/api/v1/runs/{id}/abort`."""

    async def post(self, run: str) -> None:
        """End the run as aborted; 409 if it has ended."""
        self.check_run(run)
        done = self.hub.drafts([{"type": "done", "status": "aborted"}])
        answer = await self.hub.publish(self.workspace, run, done)
        self.answer(answer.json)


def _read_run(body: bytes) -> tuple[str | None, str, dict[str, Any]]:
    given = read_json(body)
    if not isinstance(given, dict):
        raise BadRequest("The body must be a JSON object.")
    check_depth(given, "A run")
    id = given.pop("id", None)
    if id is not None:
        check_id(id, "id")
    if "projectId" not in given:
        raise Invalid("A run needs a projectId.")
    project = check_id(given.pop("projectId"), "projectId")
    if given.get("status", "running") != "running":
        raise Invalid("A run begins with the status running.")
    return id, project, given
