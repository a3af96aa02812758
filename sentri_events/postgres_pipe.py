"""Statements of one PostgreSQL connection that are sent together: one message, one answer, and no rows.

psycopg's own pipeline takes the client twice as long, and what an error kept from being prepared it takes for prepared.
"""

from collections import deque
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any

from psycopg import Connection, OperationalError
from psycopg.abc import PipelineCommand
from psycopg.errors import error_from_result
from psycopg.generators import fetch_many, pipeline_communicate
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

MOST = 100  # statements that are prepared; of some there are as many as producers have ways to say it


class Pipe:
    """A context: what is added in it is sent at its end, or not at all if it fails. Within itself it does nothing.

    Raises psycopg's error of the first statement that fails; nothing after it was done.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._names: dict[str, bytes] = {}  # of what the server has prepared
        self._statements: list[tuple[str, Sequence[str | int | None]]] = []
        self._depth = 0

    @property
    def is_open(self) -> bool:
        """Whether statements are to be added."""
        return self._depth > 0

    def __enter__(self) -> "Pipe":
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            statements, self._statements = self._statements, []
            if error is None:
                self._send(statements)

    def add(self, sql: str, values: Sequence[str | int | None]) -> None:
        """`sql` has `%s` for each of `values`."""
        self._statements.append((sql, values))

    def _send(self, statements: Sequence[tuple[str, Sequence[str | int | None]]]) -> None:
        pgconn = self._connection.pgconn
        commands: deque[PipelineCommand] = deque()
        new: dict[str, tuple[bytes, int]] = {}  # name and place among the commands
        for sql, values in statements:
            name = self._names.get(sql) or new.get(sql, (None,))[0]
            texts = [*map(_text, values)]
            if name is None and (number := len(self._names) + len(new)) < MOST:
                name = b"pipe_%d" % number
                new[sql] = name, len(commands)
                commands.append(partial(pgconn.send_prepare, name, _numbered(sql)))
            if name is None:
                commands.append(partial(pgconn.send_query_params, _numbered(sql), texts))
            else:
                commands.append(partial(pgconn.send_query_prepared, name, texts))
        answers = self._answers(commands)
        for sql, (name, place) in new.items():
            if answers[place].status == ExecStatus.COMMAND_OK:
                self._names[sql] = name
        for answer in answers:
            if answer.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(answer)

    def _answers(self, commands: deque[PipelineCommand]) -> list[PGresult]:
        """One for each command."""
        pgconn = self._connection.pgconn
        number = len(commands)
        commands.append(pgconn.pipeline_sync)
        pgconn.enter_pipeline_mode()
        answers: list[list[PGresult]] = self._connection.wait(pipeline_communicate(pgconn, commands))
        while len(answers) <= number:
            answers.append(self._connection.wait(fetch_many(pgconn)))
        if not all(len(one) == 1 for one in answers):  # else nobody knows whether all was done
            raise OperationalError("the connection is lost")
        pgconn.exit_pipeline_mode()
        return [answer for (answer,) in answers[:number]]


def _numbered(sql: str) -> bytes:
    """With $1, $2, … for each %s."""
    first, *rest = sql.split("%s")
    return "".join([first, *(f"${number}{text}" for number, text in enumerate(rest, 1))]).encode()


def _text(value: str | int | None) -> bytes | None:
    return None if value is None else str(value).replace("\0", "\ufffd").encode()
