"""Tickets: `POST /api/v1/tickets` (protocol, section 4)."""

from sentri_events.caller import VIEWER
from sentri_events.errors import BadRequest, Invalid
from sentri_events.event import read_json
from sentri_events.handlers.base import BaseHandler

MAX_PATH = 2048


class TicketsHandler(BaseHandler):
    """A ticket opens what its owner may read, and nothing else."""

    writes = VIEWER

    def post(self) -> None:
        """201 with a ticket for the stream at `path`."""
        given = read_json(self.body)
        if not isinstance(given, dict):
            raise BadRequest("The body must be a JSON object.")
        path = given.get("path")
        if not isinstance(path, str) or not 1 <= len(path) <= MAX_PATH or not path.isprintable():
            raise Invalid(f"path must be text of at most {MAX_PATH} characters.")
        if path[0] != "/" or not path.partition("?")[0].endswith("/events"):
            raise Invalid("path must be that of a stream on this server, such as /api/v1/runs/RUN-1/events?logs=100.")
        self.answer({"ticket": self.access.tickets.mint(self.caller, path)}, 201)
