"""Which database a URL names, how it is spoken to, and the one wall where its errors are translated.

SQL of our own is written with `?`, whatever the database's own mark is.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import peewee
from peewee import PostgresqlDatabase, SqliteDatabase
from playhouse.migrations import Runner
from playhouse.pool import PooledDatabase, PooledSqliteDatabase

from sentri_events.errors import SettingsError, Unavailable
from sentri_events.models import HISTORY

LOCK_TIMEOUT = 2000  # milliseconds that a statement waits for another process's lock
MIGRATION_TIMEOUT = 60_000  # milliseconds that a start waits while another process migrates
_MIGRATION_KEY = 0x6D696772617465  # of PostgreSQL's advisory lock
WAL_BYTES = 64 << 20
WAL_TIMEOUT = 100  # milliseconds
PRAGMAS: dict[str, str | int] = {
    "journal_mode": "wal",
    "synchronous": "full",
    "wal_autocheckpoint": 4000,  # pages: a run's row is written by every commit, and copied once for all of them
    "secure_delete": "off",  # some builds write zeros over what is deleted: a prune would hold the lock for seconds
}
MIGRATIONS = Path(__file__).parent / "migrations"
BEGIN_WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"  # PostgreSQL's
TOGETHER = 50  # rows that are inserted by one statement
_OUR_FAULT = {"DataError", "IntegrityError", "ProgrammingError"}
# although they are of ProgrammingError; the last is a pooler's that gives one session's connection to another
_NOT_OUR_FAULT = {"InsufficientPrivilege", "InvalidSchemaName", "InvalidSqlStatementName"}
log = logging.getLogger(__name__)


def open_database(url: str, migrating: bool = False) -> PooledDatabase:
    """The database of a URL, connections not yet made: `sqlite:///FILE`, `sqlite:////FILE` for an absolute path, or
    `postgresql://USER:PASSWORD@HOST:PORT/NAME`.

    One for `migrating` waits long for others that do. Raises `SettingsError` for a URL that names no database.
    """
    if is_postgres(url):
        return _open_postgres(url, migrating)
    path = url.removeprefix("sqlite:///")
    if path == url or not path or path.startswith(":memory:") or "?" in path:
        known = "sqlite:///sentri-events.db or postgresql://USER:PASSWORD@HOST/NAME"
        raise SettingsError(f"The database must be a URL such as {known}.")
    if not Path(path).absolute().parent.is_dir():
        raise SettingsError(f"The folder of the database does not exist: {Path(path).absolute().parent}.")
    lock_timeout = MIGRATION_TIMEOUT if migrating else LOCK_TIMEOUT
    return PooledSqliteDatabase(
        location(url),
        # The pool keeps `timeout` for itself, so SQLite's is a pragma: the first one, for the others may have to wait.
        pragmas={"busy_timeout": lock_timeout, **PRAGMAS},
        lock_type="IMMEDIATE",
        check_same_thread=False,  # a pool hands a connection from thread to thread, to one at a time
    )


def is_postgres(url: str) -> bool:
    """Whether the URL names a database of PostgreSQL."""
    return url.startswith(("postgresql://", "postgres://"))


def _open_postgres(url: str, migrating: bool) -> PooledDatabase:
    try:
        from sentri_events.postgres import ANSWER_TIMEOUT, PostgresDatabase
    except ImportError:
        raise SettingsError("PostgreSQL takes an extra: pip install 'sentri-events[postgres]'.") from None
    if migrating:
        return PostgresDatabase(url, {"lock_timeout": MIGRATION_TIMEOUT, "statement_timeout": 0}, None)
    return PostgresDatabase(url, {}, ANSWER_TIMEOUT)


def location(url: str) -> str:
    """Where the data of `url` is, for a person: the absolute path of a file, or a URL without user and password."""
    if is_postgres(url):
        parts = urlsplit(url)
        return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return str(Path(url.removeprefix("sqlite:///")).absolute())


def may_exist(url: str) -> bool:
    """False if there is no such file; of a server's database only connecting tells."""
    return is_postgres(url) or Path(location(url)).exists()


def migrate(url: str) -> list[str]:
    """Bring the schema to the newest version and return the names of the migrations that this took.

    All in one transaction under a lock: processes that start at once wait for each other, and a failure leaves the old
    schema. Raises `SettingsError` if a newer version made this database, `Unavailable`.
    """
    database = open_database(url, migrating=True)
    try:
        with translated():
            _connect(database)
            runner = Runner(database, str(MIGRATIONS), HISTORY)
            if not _pending(runner):
                return []
            upgrade = bool(runner.applied())
            with database.atomic():
                if isinstance(database, PostgresqlDatabase):  # SQLite's BEGIN is a lock
                    execute(database, "SELECT pg_advisory_xact_lock(?)", _MIGRATION_KEY)
                names: list[str] = runner.up() if _pending(runner) else []
    finally:
        database.close_all()
    for name in names:
        log.log(logging.INFO if upgrade else logging.DEBUG, "The database was brought to %s.", name)
    return names


def _connect(database: PooledDatabase) -> None:
    """Processes that are the first to open a new file do not wait for each other: SQLite refuses all but one."""
    end = time.monotonic() + MIGRATION_TIMEOUT / 1000
    while True:
        try:
            database.connect()
        except peewee.OperationalError as error:
            if trouble(error) != "database is locked" or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def _pending(runner: Runner) -> bool:
    rows = runner.status()
    unknown = [row.name for row in rows if row.path is None]
    if unknown:
        raise SettingsError(f"A newer version made this database (it has {unknown[-1]}): upgrade sentri-events.")
    return any(row.applied is None for row in rows)


@contextmanager
def reading(database: PooledDatabase) -> Iterator[None]:
    """A connection of the pool and one transaction that sees a single moment, without the write lock."""
    with translated():
        try:
            if isinstance(database, PostgresqlDatabase):
                _begin_postgres(database, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            else:
                database.connect()
                database.begin("DEFERRED")
            yield
        except Exception as error:
            if trouble(error) is not None:
                disconnect(database)  # it may be the connection's
            raise
        finally:
            database.close()  # the pool ends the transaction


def begin_writing(database: PooledDatabase, first: str = "", *values: Any) -> Any:
    """One transaction on this thread's connection, made if there is none; returns a cursor with the rows of its `first`
    statement, if there is one. SQLite's takes the write lock."""
    if isinstance(database, PostgresqlDatabase):
        # What a statement reads is what was committed before it, so a row is read anew under its lock.
        return _begin_postgres(database, BEGIN_WRITING, first, *values)
    database.connect(reuse_if_open=True)
    database.begin()
    return execute(database, first, *values) if first else None


def _begin_postgres(database: PooledDatabase, words: str, first: str = "", *values: Any) -> Any:
    """That a server was restarted shows at the first use of an old connection: then all that are idle are old."""
    database.connect(reuse_if_open=True)
    try:
        return _begin_together(database, words, first, *values)
    except Exception as error:
        if is_lock_timeout(error):
            raise
        disconnect(database)
        if trouble(error) is None:
            raise
        database.close_idle()
        database.connect()
        return _begin_together(database, words, first, *values)


def _begin_together(database: PooledDatabase, words: str, first: str, *values: Any) -> Any:
    if not first:
        return execute(database, words)
    with database.connection().pipeline():
        execute(database, words)
        return execute(database, first, *values)


@contextmanager
def together(database: PooledDatabase) -> Iterator[None]:
    """Statements whose rows nobody reads. PostgreSQL is sent all of them in one message at the end, or none if the
    block fails. What fails there shows then, and nothing was done after it. SQLite does each at once."""
    if not isinstance(database, PostgresqlDatabase):
        yield
        return
    connection: Any = database.connection()  # type: ignore[no-untyped-call]
    with connection.pipe:
        yield


def roll_back(database: PooledDatabase, savepoint: str = "") -> None:
    """Undo the transaction, or what came after its savepoint. psycopg's own ways to do so let the server forget all
    that is prepared."""
    with together(database):
        execute(database, f"ROLLBACK TO SAVEPOINT {savepoint}" if savepoint else "ROLLBACK")


@contextmanager
def taking_time(database: PooledDatabase) -> Iterator[None]:
    """Within `reading`: statements that may take as long as they do."""
    if not isinstance(database, PostgresqlDatabase):
        yield
        return
    connection: Any = database.connection()  # type: ignore[no-untyped-call]
    patience = connection.patience
    try:
        execute(database, "SET LOCAL statement_timeout = 0")
        connection.patience = None
        yield
    finally:
        connection.patience = patience


def disconnect(database: PooledDatabase) -> None:
    """Let go of this thread's transaction and connection, in whatever state they are."""
    try:
        try:
            if not database.is_closed() and isinstance(database, SqliteDatabase):
                connection: Any = database.connection()  # type: ignore[no-untyped-call]
                connection.rollback()  # or its lock would outlive the close while a traceback holds a cursor
        finally:
            database.manual_close()
    except Exception as error:
        if trouble(error) is None:
            raise
        log.warning("A connection to the store did not close: %s.", trouble(error))


def execute(database: PooledDatabase, sql: str, *values: Any) -> Any:
    """A cursor with the rows of one statement."""
    return database.execute_sql(sql.replace("?", database.param), values)


def execute_many(database: PooledDatabase, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """One statement for each of `rows`."""
    if isinstance(database, PostgresqlDatabase):
        with together(database):
            for row in rows:
                execute(database, sql, *row)
        return
    cursor = database.cursor()
    try:
        cursor.executemany(sql.replace("?", database.param), rows)
    finally:
        cursor.close()


def insert_many(database: PooledDatabase, into: str, rows: Sequence[Sequence[Any]]) -> None:
    """New rows `into` a table, `table (column, …)`. Many a statement: one by one they take a database twice as long."""
    mark = f"({', '.join([database.param] * len(rows[0]))})"
    whole = len(rows) - len(rows) % TOGETHER
    chunks = [list(chain.from_iterable(rows[first : first + TOGETHER])) for first in range(0, whole, TOGETHER)]
    cursor = database.cursor()
    try:
        if chunks:
            cursor.executemany(f"INSERT INTO {into} VALUES {', '.join([mark] * TOGETHER)}", chunks)  # nosec B608 # words of ours
        if rest := rows[whole:]:
            marks = ", ".join([mark] * len(rest))
            cursor.execute(f"INSERT INTO {into} VALUES {marks}", list(chain.from_iterable(rest)))  # nosec B608 # words of ours
    finally:
        cursor.close()


def rows_within(
    database: PooledDatabase, max_bytes: int, sql: str, order: str, *values: Any
) -> Iterator[tuple[Any, ...]]:
    """The rows of `sql`, in `order`, until their column `json` has more than `max_bytes`, and perhaps some beyond.

    SQLite hands out row by row; of PostgreSQL's answer all would be in memory.
    """
    if isinstance(database, PostgresqlDatabase):
        size = f"SUM(OCTET_LENGTH(json)) OVER (ORDER BY {order}) - OCTET_LENGTH(json)"
        sized = f"SELECT page.*, {size} AS before FROM ({sql} ORDER BY {order} LIMIT ?) page"  # nosec B608 # words of ours
        bounded = f"SELECT * FROM ({sized}) sized WHERE before <= ? ORDER BY {order}"  # nosec B608 # words of ours
        rows = execute(database, bounded, *values, max_bytes)
        return (row[:-1] for row in rows)
    return iter(execute(database, f"{sql} ORDER BY {order} LIMIT ?", *values))


def bound_wal(database: PooledDatabase, bound: int) -> int:
    """Empty SQLite's write-ahead log if it has more bytes than `bound`; returns the bound for the next time.

    SQLite begins it anew in a moment when nobody reads, and readers that take turns leave it none. A reader that takes
    long is not waited for: then the next bound is twice what the log has.
    """
    if not isinstance(database, SqliteDatabase):
        return bound
    try:
        size = os.stat(f"{database.database}-wal").st_size
    except FileNotFoundError:
        return bound
    if size <= bound:
        return bound
    execute(database, f"PRAGMA busy_timeout = {WAL_TIMEOUT}")
    busy = execute(database, "PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    execute(database, f"PRAGMA busy_timeout = {LOCK_TIMEOUT}")
    return 2 * size if busy else WAL_BYTES


@contextmanager
def translated() -> Iterator[None]:
    """Turns what a database throws because it cannot do its work into `Unavailable`, with its reason."""
    try:
        yield
    except Exception as error:
        why = trouble(error)
        if why is None:
            raise
        raise Unavailable(f"The store is not available: {why}.") from error


def trouble(error: Exception) -> str | None:
    """Why the database cannot do its work, in its own words and one line; None if that is not what `error` says.

    peewee and the drivers beneath it name their errors as PEP 249 does, and peewee does not wrap all of them.
    """
    kinds = error_kinds(error)
    if kinds.isdisjoint(("DatabaseError", "InterfaceError")) or (kinds & _OUR_FAULT and not kinds & _NOT_OUR_FAULT):
        return None
    return (str(error).strip().splitlines() or [type(error).__name__])[0].removesuffix(".")


def is_lock_timeout(error: Exception) -> bool:
    """Whether another session has kept a lock for too long."""
    return "LockNotAvailable" in error_kinds(error)


def error_kinds(error: Exception) -> set[str]:
    """The names of the classes that `error`, and the driver's error beneath it, belong to."""
    return {kind.__name__ for one in (error, getattr(error, "orig", None)) for kind in type(one).__mro__}
