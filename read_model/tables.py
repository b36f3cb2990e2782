"""Defines the tables. Everything in them can be rebuilt from ``lock-events`` and
``lock-facts.parked``."""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.engine import Dialect

LOCK_EVENTS = "lock-events"
PARKED_FACTS = "lock-facts.parked"

metadata = MetaData()


class Bytes(LargeBinary):
    """Passes bytes as they are, which both drivers take."""

    def bind_processor(self, dialect: Dialect) -> None:
        return None


positions = Table(
    "positions",
    metadata,
    Column("stream", Text, primary_key=True, comment="lock-events or lock-facts.parked"),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False, comment="all before it is folded in"),
    Column("source_offset", BigInteger, nullable=False, comment="largest folded, -1 for none"),
    Column("newest_id_ms", BigInteger, nullable=False, comment="largest UUIDv7 time folded"),
    sqlite_with_rowid=False,
)

generations = Table(
    "generations",
    metadata,
    Column("only", Integer, primary_key=True, autoincrement=False, comment="there is one row"),
    Column("number", BigInteger, nullable=False, comment="another after each emptying"),
)

locks = Table(
    "locks",
    metadata,
    Column("lock_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("lock_uuid", Bytes, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", Text, nullable=False),
    # Not unique, as below.
    Index("locks_by_uuid", "lock_uuid"),
)

temp_keys = Table(
    "temp_keys",
    metadata,
    Column("lock_id", BigInteger, primary_key=True),
    Column("temp_key_uuid", Text, primary_key=True),
    Column("used_count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("lock_id", BigInteger, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("event_id", Bytes, nullable=False),
    Column("org_id", Text, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("value", Bytes, nullable=False, comment="the lock-events value as it stands"),
    # Not unique: the model reports what the log holds, `verify` judges it.
    Index("events_by_id", "event_id"),
    sqlite_with_rowid=False,
)

parked = Table(
    "parked",
    metadata,
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("event_id", Bytes),
    Column("lock_id", BigInteger),
    Column("org_id", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Index("parked_by_id", "event_id"),
    sqlite_with_rowid=False,
)

EMPTIED = (events, temp_keys, locks, parked)
"""What an emptying empties. Whoever locks several of these does it in this order, and after the
rows of ``positions`` if it locks those too: then nobody waits in a ring."""
