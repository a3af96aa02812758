"""Which database a URL names, how it is spoken to, and the one wall where its errors are translated.

SQL of our own is written with `?`, whatever the database's own mark is.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playhouse.migrations import Runner
from playhouse.pool import PooledDatabase, PooledSqliteDatabase

from sentri_events.errors import SettingsError, Unavailable
from sentri_events.models import HISTORY

LOCK_TIMEOUT = 2000  # milliseconds that a statement waits for another process's lock
MIGRATION_TIMEOUT = 60_000  # milliseconds that a start waits while another process migrates
WAL_BYTES = 64 << 20
WAL_TIMEOUT = 100  # milliseconds
PRAGMAS: dict[str, str | int] = {"journal_mode": "wal", "synchronous": "full"}
MIGRATIONS = Path(__file__).parent / "migrations"
_OUR_FAULT = {"DataError", "IntegrityError", "ProgrammingError"}
log = logging.getLogger(__name__)


def open_database(url: str, lock_timeout: int = LOCK_TIMEOUT) -> PooledDatabase:
    """The database of a URL, connections not yet made: `sqlite:///FILE`, or `sqlite:////FILE` for an absolute path.

    `lock_timeout` is in milliseconds. Raises `SettingsError` for a URL that names no file.
    """
    path = url.removeprefix("sqlite:///")
    if path == url or not path or path.startswith(":memory:") or "?" in path:
        raise SettingsError(f"The database must be a URL such as sqlite:///sentri-events.db, not {url}.")
    if not Path(path).absolute().parent.is_dir():
        raise SettingsError(f"The folder of the database does not exist: {Path(path).absolute().parent}.")
    return PooledSqliteDatabase(
        location(url),
        # The pool keeps `timeout` for itself, so SQLite's is a pragma: the first one, for the others may have to wait.
        pragmas={"busy_timeout": lock_timeout, **PRAGMAS},
        lock_type="IMMEDIATE",
        check_same_thread=False,  # a pool hands a connection from thread to thread, to one at a time
    )


def location(url: str) -> str:
    """Where the data of `url` is, for a person: the absolute path of a file."""
    return str(Path(url.removeprefix("sqlite:///")).absolute())


def migrate(url: str) -> list[str]:
    """Bring the schema to the newest version and return the names of the migrations that this took.

    All in one transaction under the database's write lock: processes that start at once wait for each other, and a
    failure leaves the old schema. Raises `SettingsError` if a newer version made this database, `Unavailable`.
    """
    database = open_database(url, MIGRATION_TIMEOUT)
    try:
        with translated():
            database.connect()
            runner = Runner(database, str(MIGRATIONS), HISTORY)
            if not _pending(runner):
                return []
            with database.atomic():
                names: list[str] = runner.up() if _pending(runner) else []
    finally:
        database.close_all()
    for name in names:
        log.info("The database was brought to %s.", name)
    return names


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
        database.connect()
        try:
            database.begin("DEFERRED")
            yield
        finally:
            database.close()  # the pool ends the transaction


def disconnect(database: PooledDatabase) -> None:
    """Let go of this thread's connection, and so of its transaction, in whatever state they are."""
    try:
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
    cursor = database.cursor()
    try:
        cursor.executemany(sql.replace("?", database.param), rows)
    finally:
        cursor.close()


def bound_wal(database: PooledDatabase, bound: int) -> int:
    """Empty SQLite's write-ahead log if it has more bytes than `bound`; returns the bound for the next time.

    SQLite begins it anew in a moment when nobody reads, and readers that take turns leave it none. A reader that takes
    long is not waited for: then the next bound is twice what the log has.
    """
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
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds.isdisjoint(("DatabaseError", "InterfaceError")) or kinds & _OUR_FAULT:
        return None
    return (str(error).strip().splitlines() or [type(error).__name__])[0].removesuffix(".")
