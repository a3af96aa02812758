"""Revoked tokens and used tickets. A frozen copy: it says what was, whatever sentri_events/models.py becomes."""

from typing import Any

from peewee import BigIntegerField, Database, Model, TextField


def up(migrator: Any, db: Database) -> None:
    class Base(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Revocation(Base):
        jti = TextField(primary_key=True)
        number = BigIntegerField(unique=True)
        until = BigIntegerField()

    class Ticket(Base):
        id = TextField(primary_key=True)
        until = BigIntegerField()

    db.create_tables([Revocation, Ticket])
