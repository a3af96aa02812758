"""Projects: making and reading them, and the runs of one."""

from sentri_events.errors import BadRequest, Invalid
from sentri_events.event import check_id, read_json
from sentri_events.handlers.base import BaseHandler
from sentri_events.handlers.runs import RunsHandler


class ProjectsHandler(BaseHandler):
    """`/api/v1/projects`."""

    async def get(self) -> None:
        """All projects, oldest first."""
        self.answer({"data": await self.hub.store.projects(self.workspace)})

    async def post(self) -> None:
        """Make a project; 201 with it."""
        given = read_json(self.body)
        if not isinstance(given, dict):
            raise BadRequest("The body must be a JSON object.")
        id, name = given.get("id"), given.get("name")
        if id is not None:
            check_id(id, "id")
        if not isinstance(name, str | None):
            raise Invalid("name must be text.")
        self.answer(await self.hub.store.create_project(self.workspace, id, name), 201)


class ProjectHandler(BaseHandler):
    """`/api/v1/projects/{id}`."""

    async def get(self, project: str) -> None:
        """One project."""
        self.answer(await self.hub.store.project(self.workspace, self.check_run(project)))


class ProjectRunsHandler(RunsHandler):
    """`/api/v1/projects/{id}/runs`."""

    async def get(self, project: str) -> None:  # type: ignore[override]
        """Its runs, newest first."""
        await self.hub.store.project(self.workspace, self.check_run(project))
        await self.list_runs(project)

    post = BaseHandler._unimplemented_method  # type: ignore[assignment]
