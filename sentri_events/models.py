"""The tables, bound to a database by a function: no connection is a global.

`(run, seq)` is what an event is; the head stands in the run's own row, so that a number is given out by one row's lock.
"""

from typing import Any, NamedTuple

from peewee import BigIntegerField, CompositeKey, Database, IntegerField, Model, SqliteDatabase, TextField

HISTORY = "schema_migration"  # which migrations this database has


class Tables(NamedTuple):
    """One database and its model classes."""

    database: Any
    counter: Any
    project: Any
    run: Any
    field: Any
    event: Any
    result: Any
    key: Any
    fleet: Any
    revocation: Any
    ticket: Any


def bind(db: Database) -> Tables:
    """The tables as they are after the newest migration, on `db`."""

    class Base(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Counter(Base):
        """The last number that was made into an id."""

        name = TextField(primary_key=True)
        value = BigIntegerField()

    class Project(Base):
        id = TextField(primary_key=True)
        workspace = TextField(index=True)
        name = TextField(null=True)
        created_at = BigIntegerField()

    class Run(Base):
        """One run: where its numbering stands (head, floor), and the fields that lists show.

        The counts that a producer set are in passed, failed, skipped and total; those that follow from its results
        are beside them in the columns counted_…; times are milliseconds since 1970.
        """

        id = TextField(primary_key=True)
        number = BigIntegerField(unique=True)
        workspace = TextField()
        project = TextField()
        epoch = TextField()
        head = BigIntegerField(default=0)
        floor = BigIntegerField(default=0)
        status = TextField(default="running")
        type = TextField()
        name = TextField(null=True)
        started_at = BigIntegerField()
        finished_at = BigIntegerField(null=True)
        duration = BigIntegerField(null=True)
        error = TextField(null=True)
        passed = BigIntegerField(null=True)
        failed = BigIntegerField(null=True)
        skipped = BigIntegerField(null=True)
        total = BigIntegerField(null=True)
        counted_passed = IntegerField(default=0)
        counted_failed = IntegerField(default=0)
        counted_skipped = IntegerField(default=0)
        counted_total = IntegerField(default=0)
        heard_at = BigIntegerField()

        class Meta:
            indexes = (
                (("workspace", "number"), False),
                (("workspace", "project", "number"), False),
                (("workspace", "status", "number"), False),
            )

    Run.add_index(Run.index(Run.id, where=(Run.status == "running"), name="run_running"))

    class Field(Base):
        """A field of the run document that has no column: its JSON."""

        run = TextField()
        name = TextField()
        json = TextField()

        class Meta:
            primary_key = CompositeKey("run", "name")
            without_rowid = isinstance(db, SqliteDatabase)

    class Event(Base):
        run = TextField()
        seq = BigIntegerField()
        at = BigIntegerField()
        type = TextField()
        json = TextField()

        class Meta:
            primary_key = CompositeKey("run", "seq")

    Event.add_index(Event.index(Event.run, Event.seq, where=(Event.type == "log"), name="event_log"))

    class Result(Base):
        """The newest result of a test. Its place in the document is that of the test's first."""

        run = TextField()
        test = TextField()
        place = BigIntegerField()
        counted_as = TextField(null=True)
        json = TextField()

        class Meta:
            primary_key = CompositeKey("run", "test")
            without_rowid = isinstance(db, SqliteDatabase)

    class Key(Base):
        """An Idempotency-Key and what was answered. Its scope is a run, or `runs/` and the workspace for making one."""

        scope = TextField()
        key = TextField()
        digest = TextField()
        run = TextField(index=True)
        answer = TextField()

        class Meta:
            primary_key = CompositeKey("scope", "key")
            without_rowid = isinstance(db, SqliteDatabase)

    class Fleet(Base):
        """One row: when an instance last said that it lives. A gap is time in which nobody could have been heard."""

        id = IntegerField(primary_key=True)
        seen_at = BigIntegerField()

    class Revocation(Base):
        """A token that is not believed any more, until it would have ended; numbered in the order of the commits."""

        jti = TextField(primary_key=True)
        number = BigIntegerField(unique=True)
        until = BigIntegerField()

    class Ticket(Base):
        """A ticket that was used in time, and so may be used again."""

        id = TextField(primary_key=True)
        until = BigIntegerField()

    return Tables(db, Counter, Project, Run, Field, Event, Result, Key, Fleet, Revocation, Ticket)
