"""Statements that are sent together, on a real PostgreSQL. Where a test says "caught", that mutant was tried and failed
it."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.errors import DivisionByZero, InvalidSqlStatementName, UniqueViolation
from psycopg.generators import pipeline_communicate

from sentri_events import postgres_pipe
from sentri_events.database import disconnect, execute, open_database, roll_back, together, trouble
from sentri_events.postgres_pipe import Pipe
from tests.machine import each_postgres
from tests.postgres_server import fresh_database, server_url

INSERT = "INSERT INTO noted (id, word) VALUES (?, ?)"


@pytest.fixture(scope="module", params=each_postgres())
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    with server_url(request.param) as url:
        yield url


@pytest.fixture
def database(server: str) -> Iterator[Any]:
    """With a table, and a connection of this thread."""
    with fresh_database(server) as url:
        database = open_database(url)
        database.connect()
        execute(database, "CREATE TABLE noted (id bigint PRIMARY KEY, word text)")
        try:
            yield database
        finally:
            disconnect(database)
            database.close_all()


def send(database: Any, *statements: tuple[Any, ...]) -> None:
    """Statements with their values, together."""
    with together(database):
        for sql, *values in statements:
            execute(database, sql, *values)


def noted(database: Any) -> list[tuple[int, str | None]]:
    return list(execute(database, "SELECT id, word FROM noted ORDER BY id").fetchall())


def prepared(database: Any) -> list[str]:
    """The statements that the server has prepared for the pipe."""
    sql = "SELECT statement FROM pg_prepared_statements WHERE name LIKE 'pipe%%' ORDER BY prepare_time, name"
    return [statement for (statement,) in execute(database, sql).fetchall()]


def test_statements_are_done_in_their_order_and_have_their_values(database: Any) -> None:
    """Caught: values that are mixed up; a None that is a text; a text that is empty and becomes None."""
    send(
        database,
        (INSERT, 1, "eins, ²"),
        (INSERT, 1 << 40, None),
        ("UPDATE noted SET word = ? WHERE id = ?", "a\0b\n'%\\", 1),
        (INSERT, -3, ""),
        ("DELETE FROM noted WHERE word IS NULL",),
        (INSERT, 4, "four"),
    )
    assert noted(database) == [(-3, ""), (1, "a\ufffdb\n'%\\"), (4, "four")]


def test_it_is_one_message_at_the_end(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of those that are together within. Caught: an inner end that sends."""
    sent: list[int] = []
    send = Pipe._send
    monkeypatch.setattr(Pipe, "_send", lambda pipe, said: sent.append(len(said)) or send(pipe, said))  # type: ignore[func-returns-value]
    with together(database):
        execute(database, INSERT, 1, "one")
        with together(database):
            execute(database, INSERT, 2, "two")
        execute(database, INSERT, 3, "three")
        assert sent == []
    assert sent == [3]
    assert [id for id, _ in noted(database)] == [1, 2, 3]


def test_nothing_is_sent_if_the_block_fails(database: Any) -> None:
    """Caught: what was added is sent all the same, then or with the next."""
    with pytest.raises(AttributeError):
        send(database, (INSERT, 1, "one"), (None,))
    send(database, (INSERT, 2, "two"))
    assert noted(database) == [(2, "two")]


def test_the_first_error_is_raised_and_nothing_is_done_after_it(database: Any) -> None:
    execute(database, INSERT, 1, "one")
    with pytest.raises(UniqueViolation, match="noted_pkey") as raised:
        send(
            database,
            ("BEGIN",),
            (INSERT, 2, "two"),
            (INSERT, 1, "again"),
            ("SELECT 1 / ?::int", 0),
            ("COMMIT",),
        )
    assert trouble(raised.value) is None
    roll_back(database)
    assert noted(database) == [(1, "one")]


def test_what_an_error_kept_from_being_prepared_is_prepared_the_next_time(database: Any) -> None:
    """And what was prepared stays, whatever is rolled back. Caught: a name that is remembered although the server has
    not heard of it; a rollback of psycopg's."""
    divide, change = "SELECT 1 / ?::int", "UPDATE noted SET word = ? WHERE id = ?"
    for divisor in (1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 1):
        try:
            more = [(change, "never", 1)] if divisor == 0 else []
            send(database, ("BEGIN",), (divide, divisor), (INSERT, 1, "one"), *more, ("ROLLBACK",))
        except DivisionByZero:
            roll_back(database)
        assert noted(database) == []  # which psycopg has prepared by itself before the first rollback
    send(database, (INSERT, 1, "one"), (change, "uno", 1))
    assert noted(database) == [(1, "uno")]
    known = [statement.partition(" ")[0] for statement in prepared(database)]
    assert known == ["BEGIN", "SELECT", "INSERT", "ROLLBACK", "UPDATE"]


def test_a_rollback_to_a_savepoint_leaves_what_was_before(database: Any) -> None:
    send(database, ("BEGIN",), (INSERT, 1, "one"), ("SAVEPOINT here",), (INSERT, 2, "two"))
    roll_back(database, "here")
    send(database, ("COMMIT",))
    assert noted(database) == [(1, "one")]


def test_the_server_keeps_a_bounded_number_of_statements(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caught: no bound; what has no room is not done."""
    monkeypatch.setattr(postgres_pipe, "MOST", 3)
    for _ in range(2):
        send(database, *[(f"INSERT INTO noted VALUES (?, '{n}') ON CONFLICT DO NOTHING", n) for n in range(10)])
    assert len(noted(database)) == 10
    assert len(prepared(database)) == 3


def test_more_than_any_buffer_has_room_for(database: Any) -> None:
    """Both ways, for each statement has a notice of its own: neither side may wait for the other."""
    execute(
        database,
        "CREATE FUNCTION loud(text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE WARNING ''%%'', $1; RETURN 1; END'",
    )
    word = "." * 100_000
    send(database, *[one for number in range(300) for one in ((INSERT, number, word), ("SELECT loud(?)", word))])
    assert execute(database, "SELECT count(*), min(length(word)) FROM noted").fetchone() == (300, 100_000)


def test_a_session_that_has_become_another_is_a_trouble(database: Any) -> None:
    """As a pooler makes it that gives out connections for a transaction each. Caught: a fault of the request's."""
    send(database, (INSERT, 1, "one"))
    execute(database, "DEALLOCATE ALL")
    with pytest.raises(InvalidSqlStatementName) as raised:
        send(database, (INSERT, 2, "two"))
    assert trouble(raised.value) is not None


def test_a_session_that_ends_within_is_a_trouble(database: Any) -> None:
    with pytest.raises(psycopg.OperationalError) as raised:
        send(database, (INSERT, 1, "one"), ("SELECT pg_terminate_backend(pg_backend_pid())",), (INSERT, 2, "two"))
    assert trouble(raised.value) is not None


def test_answers_that_are_missing_are_a_trouble(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether all was done is not known then: it may never look like a refusal."""

    def sent(pgconn: Any, commands: Any) -> Iterator[Any]:
        yield from pipeline_communicate(pgconn, commands)
        return []  # type: ignore[return-value]  # what a generator returns

    def nothing(_: object) -> Iterator[Any]:
        yield from ()
        return []  # type: ignore[return-value]

    monkeypatch.setattr(postgres_pipe, "pipeline_communicate", sent)
    monkeypatch.setattr(postgres_pipe, "fetch_many", nothing)
    with pytest.raises(psycopg.OperationalError, match="the connection is lost") as raised:
        send(database, (INSERT, 1, "one"))
    assert trouble(raised.value) is not None
