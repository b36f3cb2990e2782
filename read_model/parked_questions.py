"""Answers what has become of parked facts: which were recorded after all, and which still wait."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, and_, bindparam, exists, false, func, or_, select, tuple_

from read_model.database import Database
from read_model.queries import CHUNK, to_position
from read_model.rows import Position, StoredParked
from read_model.tables import (
    LOCK_EVENTS,
    PARKED_FACTS,
    Bytes,
    events,
    parked,
    positions,
)
from schemas.topics import LockTopics

PartitionOffset = tuple[int, int]
"""Partition and offset in ``lock-facts.parked``."""


class ParkedAt(msgspec.Struct, frozen=True):
    """Says where and why a fact was parked. ``source_offset``: of the fact in ``lock-facts``."""

    place: PartitionOffset
    reason: str
    detail: str
    source_offset: int


class ParkedFate(msgspec.Struct, frozen=True):
    """Says what became of an event id: its event's version, if there is one, and where it was
    parked last. That is the largest offset in the lock's own partition, for which every retry goes;
    else anywhere."""

    version: int | None = None
    latest: ParkedAt | None = None


class ParkedPage(msgspec.Struct, frozen=True):
    """Holds rows of a partition, by offset, and how far parked facts and events were folded in
    then."""

    rows: dict[int, StoredParked]
    parked: Position
    events: Position


class ParkedQuestions:
    """Answers as ``ReadModel`` does, and raises ``ReadModelUnavailable`` as that."""

    def __init__(self, database: Database, topics: LockTopics) -> None:
        self._database = database
        self._topics = topics
        ids = bindparam("event_ids", expanding=True, type_=Bytes)
        self._versions = select(events.c.event_id, events.c.version).where(
            events.c.event_id.in_(ids)
        )
        columns = ("event_id", "partition", "offset", "lock_id")
        of_row = ("reason", "detail", "source_offset")
        self._rows = select(*(parked.c[name] for name in (*columns, *of_row))).where(
            parked.c.event_id.in_(ids)
        )
        self._ids_at = select(parked.c.partition, parked.c.offset, parked.c.event_id).where(
            tuple_(parked.c.partition, parked.c.offset).in_(bindparam("places", expanding=True))
        )

        self._page = (
            select(parked.c.offset, *(parked.c[name] for name in StoredParked.__struct_fields__))
            .where(
                parked.c.partition == bindparam("partition"),
                parked.c.offset >= bindparam("begin"),
                parked.c.offset < bindparam("end"),
            )
            .order_by(parked.c.offset)
            .limit(bindparam("count"))
        )
        self._last_offset = select(func.max(parked.c.offset)).where(
            parked.c.partition == bindparam("partition")
        )
        self._positions = select(positions).where(positions.c.partition == bindparam("partition"))

    async def page(self, partition: int, begin: int, end: int, count: int) -> ParkedPage:
        """Returns the first ``count`` rows from ``begin`` to ``end``, and the positions beside
        them."""
        page = {"partition": partition, "begin": begin, "end": end, "count": count}

        def ask(connection: Connection) -> ParkedPage:
            rows = connection.execute(self._page, page)
            stored = {offset: StoredParked(*row) for offset, *row in rows}
            at = {
                row.stream: to_position(row)
                for row in connection.execute(self._positions, {"partition": partition})
            }
            return ParkedPage(
                stored, at.get(PARKED_FACTS, Position()), at.get(LOCK_EVENTS, Position())
            )

        return await self._database.read(ask)

    async def last_offset(self, partition: int) -> int | None:
        """Returns the offset of the partition's last row."""
        last = await self._database.read(
            lambda c: c.scalar(self._last_offset, {"partition": partition})
        )
        return None if last is None else int(last)

    async def fates(self, event_ids: Iterable[UUID]) -> dict[UUID, ParkedFate]:
        """Returns what the model holds of these event ids."""
        ids = sorted(set(event_ids))

        def ask(connection: Connection) -> dict[UUID, ParkedFate]:
            found: dict[UUID, ParkedFate] = {}
            for chunk in _chunks(ids):
                found |= self._fates(connection, chunk)
            return found

        return await self._database.read(ask)

    def _fates(self, connection: Connection, event_ids: Sequence[UUID]) -> dict[UUID, ParkedFate]:
        ids = {"event_ids": [event_id.bytes for event_id in event_ids]}
        versions = {UUID(bytes=i): v for i, v in connection.execute(self._versions, ids)}
        latest: dict[UUID, tuple[bool, ParkedAt]] = {}
        for event_id, partition, offset, lock_id, *row in connection.execute(self._rows, ids):
            at_home = lock_id is not None and self._topics.partition_of(lock_id) == partition
            candidate = (at_home, ParkedAt((partition, offset), *row))
            best = latest.get(key := UUID(bytes=event_id))
            if best is None or (best[0], best[1].place) < (at_home, (partition, offset)):
                latest[key] = candidate
        return {
            event_id: ParkedFate(
                versions.get(event_id), latest[event_id][1] if event_id in latest else None
            )
            for event_id in event_ids
        }

    async def event_ids_at(
        self, places: Iterable[PartitionOffset]
    ) -> dict[PartitionOffset, UUID | None]:
        """Returns the event ids of the facts that are parked at these places."""
        wanted = sorted(set(places))

        def ask(connection: Connection) -> dict[PartitionOffset, UUID | None]:
            found: dict[PartitionOffset, UUID | None] = {}
            for chunk in _chunks(wanted):
                for partition, offset, event_id in connection.execute(
                    self._ids_at, {"places": chunk}
                ):
                    found[partition, offset] = UUID(bytes=event_id) if event_id else None
            return found

        return await self._database.read(ask)

    async def count_unrecorded(self, begins: Mapping[int, int]) -> int:
        """Counts the facts that are parked from ``begins`` on and have no event: each event id
        once, however often it was parked, and each fact without one for itself."""
        retained = or_(
            false(),
            *(and_(parked.c.partition == p, parked.c.offset >= at) for p, at in begins.items()),
        )
        recorded = exists().where(events.c.event_id == parked.c.event_id)
        with_id = select(func.count(parked.c.event_id.distinct())).where(retained, ~recorded)
        without = select(func.count()).where(retained, parked.c.event_id.is_(None))

        def ask(connection: Connection) -> int:
            return sum(int(connection.scalar(question) or 0) for question in (with_id, without))

        return await self._database.read(ask)


def _chunks(keys: list[Any]) -> Iterable[list[Any]]:
    for begin in range(0, len(keys), CHUNK):
        yield keys[begin : begin + CHUNK]
