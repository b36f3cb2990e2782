"""Asks the tables, over an open connection."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Row, bindparam, func, select

from read_model.key_lists import KeyLists
from read_model.rows import EventRow, LockRow, ParkedRow, Position
from read_model.tables import (
    Bytes,
    events,
    generations,
    locks,
    parked,
    positions,
    temp_keys,
)

CHUNK = 400
"""Values in one IN list; below every driver's limit on bound parameters."""


class Queries:
    """Answers over any connection. The statements are made once."""

    def __init__(self, keys: KeyLists) -> None:
        self._keys = keys
        self._generation = select(generations.c.number).where(generations.c.only == 1)
        of_stream = select(positions).where(positions.c.stream == bindparam("stream"))
        self._positions = of_stream
        self._position = of_stream.where(positions.c.partition == bindparam("partition"))
        self._locks = select(locks).where(keys.holds(locks.c.lock_id))
        page = select(locks).where(locks.c.lock_id > bindparam("after"))
        page = page.order_by(locks.c.lock_id).limit(bindparam("count"))
        self._locks_after = page
        self._locks_of_after = page.where(locks.c.org_id == bindparam("org_id"))
        # The smallest comes last, and stays.
        self._uuid_owners = (
            select(locks.c.lock_uuid, locks.c.lock_id)
            .where(locks.c.lock_uuid.in_(bindparam("lock_uuids", expanding=True, type_=Bytes)))
            .order_by(locks.c.lock_id.desc())
        )
        self._versions = select(locks.c.lock_id, locks.c.version).where(keys.holds(locks.c.lock_id))
        self._used_counts = select(temp_keys).select_from(
            keys.join(temp_keys, temp_keys.c.lock_id, temp_keys.c.temp_key_uuid)
        )
        self._used_totals = (
            select(temp_keys.c.lock_id, func.sum(temp_keys.c.used_count))
            .where(keys.holds(temp_keys.c.lock_id))
            .group_by(temp_keys.c.lock_id)
        )
        self._values = select(events.c.lock_id, events.c.version, events.c.value).select_from(
            keys.join(events, events.c.lock_id, events.c.version)
        )
        self._event_ids = select(events.c.event_id).where(
            events.c.event_id.in_(bindparam("event_ids", expanding=True, type_=Bytes))
        )
        event_columns = [events.c[name] for name in EventRow.__struct_fields__]
        self._event = (
            select(*event_columns).where(events.c.event_id == bindparam("event_id")).limit(1)
        )
        self._history = (
            select(*event_columns)
            .where(
                events.c.lock_id == bindparam("lock_id"),
                events.c.version > bindparam("after_version"),
                events.c.org_id == bindparam("org_id"),
            )
            .order_by(events.c.version)
            .limit(bindparam("count"))
        )
        self._count_locks = (
            select(func.count()).select_from(locks).where(locks.c.org_id == bindparam("org_id"))
        )
        self._parked_count = select(func.count()).select_from(parked)
        self._parked_facts = (
            select(parked.c.event_id, *(parked.c[name] for name in ParkedRow.__struct_fields__))
            .where(parked.c.event_id.in_(bindparam("event_ids", expanding=True, type_=Bytes)))
            .order_by(parked.c.offset)
        )
        self._parked_fact = (
            select(*(parked.c[name] for name in ParkedRow.__struct_fields__))
            .where(parked.c.event_id == bindparam("event_id"))
            .order_by(parked.c.offset.desc())
            .limit(1)
        )

    def generation(self, connection: Connection) -> int:
        """Returns the model's generation, 0 before the first."""
        return int(connection.scalar(self._generation) or 0)

    def positions(self, connection: Connection, stream: str) -> dict[int, Position]:
        rows = connection.execute(self._positions, {"stream": stream})
        return {row.partition: to_position(row) for row in rows}

    def position(self, connection: Connection, stream: str, partition: int) -> Position:
        row = connection.execute(self._position, {"stream": stream, "partition": partition}).first()
        return to_position(row) if row is not None else Position()

    def locks(self, connection: Connection, lock_ids: Sequence[int]) -> dict[int, LockRow]:
        if not lock_ids:
            return {}
        rows = connection.execute(self._locks, self._keys.numbers(lock_ids))
        return {row.lock_id: _to_lock(row) for row in rows}

    def locks_after(
        self, connection: Connection, after: int, org_id: str | None, count: int
    ) -> list[LockRow]:
        page: dict[str, object] = {"after": after, "count": count}
        if org_id is None:
            return [_to_lock(row) for row in connection.execute(self._locks_after, page)]
        rows = connection.execute(self._locks_of_after, {**page, "org_id": org_id})
        return [_to_lock(row) for row in rows]

    def versions(self, connection: Connection, lock_ids: Sequence[int]) -> dict[int, int]:
        if not lock_ids:
            return {}
        rows = connection.execute(self._versions, self._keys.numbers(lock_ids))
        return {row.lock_id: row.version for row in rows}

    def uuid_owners(self, connection: Connection, lock_uuids: Sequence[UUID]) -> dict[UUID, int]:
        """Returns the lock that has each of these UUIDs; of several, the one with the smallest
        id."""
        found: dict[UUID, int] = {}
        for begin in range(0, len(lock_uuids), CHUNK):
            chunk = [lock_uuid.bytes for lock_uuid in lock_uuids[begin : begin + CHUNK]]
            rows = connection.execute(self._uuid_owners, {"lock_uuids": chunk})
            found.update((UUID(bytes=row.lock_uuid), row.lock_id) for row in rows)
        return found

    def count_locks(self, connection: Connection, org_id: str) -> int:
        return int(connection.scalar(self._count_locks, {"org_id": org_id}) or 0)

    def used_counts(
        self, connection: Connection, pairs: Sequence[tuple[int, str]]
    ) -> dict[tuple[int, str], int]:
        if not pairs:
            return {}
        rows = connection.execute(self._used_counts, self._keys.pairs(pairs))
        return {(lock_id, key): count for lock_id, key, count in rows}

    def used_totals(self, connection: Connection, lock_ids: Sequence[int]) -> dict[int, int]:
        """Returns how often each of these locks was used, with whichever temp key."""
        if not lock_ids:
            return {}
        rows = connection.execute(self._used_totals, self._keys.numbers(lock_ids))
        return {lock_id: int(total) for lock_id, total in rows}

    def existing_event_ids(self, connection: Connection, event_ids: Sequence[UUID]) -> set[UUID]:
        found: set[UUID] = set()
        for begin in range(0, len(event_ids), CHUNK):
            chunk = [event_id.bytes for event_id in event_ids[begin : begin + CHUNK]]
            rows = connection.execute(self._event_ids, {"event_ids": chunk})
            found.update(UUID(bytes=row.event_id) for row in rows)
        return found

    def event(self, connection: Connection, event_id: UUID) -> EventRow | None:
        row = connection.execute(self._event, {"event_id": event_id.bytes}).first()
        return EventRow(*row) if row is not None else None

    def history(
        self, connection: Connection, lock_id: int, org_id: str, after_version: int, limit: int
    ) -> list[EventRow]:
        page = {"lock_id": lock_id, "org_id": org_id, "after_version": after_version}
        rows = connection.execute(self._history, {**page, "count": limit})
        return [EventRow(*row) for row in rows]

    def event_values(
        self, connection: Connection, pairs: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], bytes]:
        if not pairs:
            return {}
        rows = connection.execute(self._values, self._keys.pairs(pairs))
        return {(lock_id, version): value for lock_id, version, value in rows}

    def count_parked(self, connection: Connection) -> int:
        return int(connection.scalar(self._parked_count) or 0)

    def parked_fact(self, connection: Connection, event_id: UUID) -> ParkedRow | None:
        row = connection.execute(self._parked_fact, {"event_id": event_id.bytes}).first()
        return ParkedRow(*row) if row is not None else None

    def parked_facts(
        self, connection: Connection, event_ids: Sequence[UUID]
    ) -> dict[UUID, ParkedRow]:
        found: dict[UUID, ParkedRow] = {}
        for begin in range(0, len(event_ids), CHUNK):
            chunk = [event_id.bytes for event_id in event_ids[begin : begin + CHUNK]]
            for event_id, *row in connection.execute(self._parked_facts, {"event_ids": chunk}):
                found[UUID(bytes=event_id)] = ParkedRow(*row)
        return found


def _to_lock(row: Row[Any]) -> LockRow:
    return LockRow(row.lock_id, UUID(bytes=row.lock_uuid), row.org_id, row.version, row.updated_at)


def to_position(row: object) -> Position:
    return msgspec.convert(row, Position, from_attributes=True)
