"""PostgreSQL through psycopg 3: a pool that outlives a restart of the database, and nothing that waits without a bound.

Imported only where a URL names PostgreSQL: psycopg is an extra.
"""

import select
from collections.abc import Mapping
from typing import Any

import psycopg
from peewee import Psycopg3Adapter
from playhouse.pool import PooledPostgresqlDatabase
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumperUnknown

from sentri_events.errors import SettingsError
from sentri_events.postgres_pipe import Pipe

LOCK_TIMEOUT = 1000  # milliseconds that a statement waits for another session's lock
STATEMENT_TIMEOUT = 10_000  # milliseconds
ANSWER_TIMEOUT = 12.0  # seconds: a peer that is connected and does nothing keeps to no timeout of its own
# A server that is gone without a word is noticed by our kernel in about ten seconds, and we by the server's.
_CONNECTION = {
    "application_name": "sentri-events",
    "client_encoding": "utf8",
    "connect_timeout": 3,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_SESSION = {
    "lock_timeout": LOCK_TIMEOUT,
    "statement_timeout": STATEMENT_TIMEOUT,
    "idle_in_transaction_session_timeout": 5000,  # its locks are others' wait
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class PostgresDatabase(PooledPostgresqlDatabase):  # type: ignore[misc]
    """`session` are settings of every connection, over the usual ones; `patience` is in seconds, None: for ever."""

    def __init__(self, url: str, session: Mapping[str, int], patience: float | None) -> None:
        parameters = {**_CONNECTION, **_parameters(url)}
        self.session = {**_SESSION, **session}
        self.patience = patience
        super().__init__(parameters.pop("dbname", ""), prefer_psycopg3=True, **parameters)

    @property
    def psycopg3_adapter(self) -> type[Psycopg3Adapter]:
        return _Adapter

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """A cursor; None while statements are collected to be sent together."""
        pipe = self.connection().pipe
        if pipe.is_open:
            return pipe.add(sql, params or ())
        return super().execute_sql(sql, params)

    def is_quiet(self) -> bool:
        """Whether this thread's connection says nothing unasked, as one does that ends."""
        poll = select.poll()
        poll.register(self.connection().fileno(), select.POLLIN)
        return not poll.poll(0)

    def _is_closed(self, conn: psycopg.Connection[Any]) -> bool:
        # Whether the other side still is there shows at BEGIN; peewee would ask every time, under the pool's lock.
        return conn.closed


class _Adapter(Psycopg3Adapter):
    def connect(self, db: PostgresDatabase, **parameters: Any) -> "_Connection":
        connection = _Connection.connect(dbname=db.database or None, autocommit=True, **parameters)
        connection.patience = db.patience
        connection.pipe = Pipe(connection)
        connection.adapters.register_dumper(str, _TextDumper)
        try:
            connection.execute("; ".join(f"SET {name} = {value}" for name, value in db.session.items()))
        except BaseException:
            connection.close()
            raise
        return connection


class _Connection(psycopg.Connection[Any]):
    patience: float | None = ANSWER_TIMEOUT
    pipe: Pipe

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:  # not the server's word: it may still say something, which answers nobody
                self.close()
            raise


class _TextDumper(StrDumperUnknown):
    """PostgreSQL's text has no NUL; what a producer sent is whole in its event's JSON, where NUL is escaped."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd"))


def _parameters(url: str) -> dict[str, Any]:
    rest = url.partition("://")[2]
    authority = rest.partition("/")[0].partition("?")[0]
    # libpq would take a part of such a password for a host, and say it in an error.
    if rest.count("@") > 1 or ("@" in rest and "@" not in authority):
        raise SettingsError("In the database's URL write /, @, ? and # within a password as %2F, %40, %3F and %23.")
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        raise SettingsError(
            "The database's URL cannot be read: write it as postgresql://USER:PASSWORD@HOST:PORT/NAME."
        ) from None
