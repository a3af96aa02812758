"""The plain face for runners: a run that is published from a thread, in batches, and never gets in the way of the job.

Standard library only: this is imported into other people's test runs.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from sentri_events.errors import Invalid
from sentri_events.outbox import Outbox
from sentri_events.post import Server
from sentri_events.wire import DEFAULT_URL, encode, server_url

__all__ = ["DEFAULT_URL", "Run", "run", "server_url"]


def run(
    *,
    project: str,
    url: str | None = None,
    name: str | None = None,
    type: str = "test_run",
    total: int | None = None,
    token: str | None = None,
    token_file: str | None = None,
    say: Callable[[str], None] | None = None,
    **fields: Any,
) -> "Run":
    """A new run of `project`, at once: the server hears of it from a thread, and need not be there.

    `fields` go into the run document. Who asks is said by `token` or `token_file`, else by the environment
    (see `wire.Credentials`). `say` gets a sentence for each kind of trouble, once, in any thread.
    Raises `ClientError` for an unusable URL or token, `Invalid` for fields that cannot be written as JSON.
    """
    document = {"projectId": project, "type": type, "name": name, "total": total, **fields}
    given = {field: value for field, value in document.items() if value is not None}
    return Run(Outbox(Server(server_url(url), token, token_file), encode(given), say))


class Run:
    """A run that is being published. Its methods may be called from any thread; none raises for the server's sake.

    As a context manager it says how the run ended, unless `done` was said, and closes.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._done_said = False

    @property
    def id(self) -> str | None:
        """The run's id; None until the server has answered."""
        return self._outbox.id

    @property
    def link(self) -> str | None:
        """The address of the run's events; None until the server has answered."""
        return None if self.id is None else f"{self._outbox.server.url}/api/v1/runs/{quote(self.id)}/events"

    @property
    def problem(self) -> str | None:
        """The sentence that says why events were given up (the first reason); None while all is well."""
        return self._outbox.problem

    @property
    def lost(self) -> int:
        """How many events were given up."""
        return self._outbox.lost

    def emit(self, type: str, payload: Mapping[str, Any] | None = None) -> None:
        """Publish one event. It is encoded now, and `_at` is now unless the payload says when. Never blocks."""
        event = {"type": type, "_at": _now(), **(payload or {})}
        event["type"] = type
        done = type == "done"
        self._done_said |= done
        try:
            self._outbox.put(encode(event), vital=done)  # without its `done` a run never ends
        except Invalid as error:
            self._outbox.lose(1, "unwritable", str(error))

    def log(self, message: str, level: str = "info") -> None:
        """A line of the run's log."""
        self.emit("log", {"message": message, "level": level})

    def result(self, result: Mapping[str, Any]) -> None:
        """The result of one test: `testId`, `status`, and whatever else is known."""
        self.emit("result", {"result": result})

    def update(self, **fields: Any) -> None:
        """Replace fields of the run document."""
        self.emit("update", {"run": fields})

    def done(self, status: str, **counts: Any) -> None:
        """Seal the run. Nothing can follow."""
        self.emit("done", {"status": status, **counts})

    def wait_id(self, timeout: float) -> str | None:
        """The run's id, as soon as the server has given it; None after `timeout` seconds, or if it never will."""
        return self._outbox.wait_id(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Wait until every event is answered, `timeout` seconds at most; then what is left is given up.

        A server that never answered is asked once more at most. True if there was no `problem`.
        """
        return self._outbox.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._done_said:
            if error is None or (isinstance(error, SystemExit) and not error.code):
                self.done("completed")
            elif isinstance(error, KeyboardInterrupt):
                self.done("aborted")
            else:
                self.done("failed", error=f"{type(error).__name__}: {error}")
        self.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
