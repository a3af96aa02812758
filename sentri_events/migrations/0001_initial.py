"""The first tables. A frozen copy: it says what was, whatever sentri_events/models.py becomes."""

from typing import Any

from peewee import BigIntegerField, CompositeKey, Database, IntegerField, Model, SqliteDatabase, TextField


def up(migrator: Any, db: Database) -> None:
    class Base(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Counter(Base):
        name = TextField(primary_key=True)
        value = BigIntegerField()

    class Project(Base):
        id = TextField(primary_key=True)
        workspace = TextField(index=True)
        name = TextField(null=True)
        created_at = BigIntegerField()

    class Run(Base):
        id = TextField(primary_key=True)
        number = BigIntegerField(unique=True)
        workspace = TextField()
        project = TextField()
        epoch = TextField()
        head = BigIntegerField()
        floor = BigIntegerField()
        status = TextField()
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
        counted_passed = IntegerField()
        counted_failed = IntegerField()
        counted_skipped = IntegerField()
        counted_total = IntegerField()
        heard_at = BigIntegerField()

        class Meta:
            indexes = (
                (("workspace", "number"), False),
                (("workspace", "project", "number"), False),
                (("workspace", "status", "number"), False),
            )

    Run.add_index(Run.index(Run.id, where=(Run.status == "running"), name="run_running"))

    class Field(Base):
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
        run = TextField()
        test = TextField()
        place = BigIntegerField()
        counted_as = TextField(null=True)
        json = TextField()

        class Meta:
            primary_key = CompositeKey("run", "test")
            without_rowid = isinstance(db, SqliteDatabase)

    class Key(Base):
        scope = TextField()
        key = TextField()
        digest = TextField()
        run = TextField(index=True)
        answer = TextField()

        class Meta:
            primary_key = CompositeKey("scope", "key")
            without_rowid = isinstance(db, SqliteDatabase)

    class Fleet(Base):
        id = IntegerField(primary_key=True)
        seen_at = BigIntegerField()

    db.create_tables([Counter, Project, Run, Field, Event, Result, Key, Fleet])
