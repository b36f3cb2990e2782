"""The statements that several of the read model's questions share, inside a connection."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from lockstream.read_model.rows import EventRow, LockRow, Position
from lockstream.read_model.tables import events, locks, positions, temp_keys

CHUNK = 400
"""Values in one IN list; below every driver's limit on bound parameters."""


async def locks_by_id(connection: AsyncConnection, lock_ids: Sequence[int]) -> dict[int, LockRow]:
    found: dict[int, LockRow] = {}
    for begin in range(0, len(lock_ids), CHUNK):
        chunk = lock_ids[begin : begin + CHUNK]
        for row in await connection.execute(select(locks).where(locks.c.lock_id.in_(chunk))):
            found[row.lock_id] = LockRow(
                row.lock_id, UUID(bytes=row.lock_uuid), row.org_id, row.version, row.updated_at
            )
    return found


async def versions_by_id(connection: AsyncConnection, lock_ids: Iterable[int]) -> dict[int, int]:
    wanted = sorted(lock_ids)
    found: dict[int, int] = {}
    for begin in range(0, len(wanted), CHUNK):
        chunk = wanted[begin : begin + CHUNK]
        query = select(locks.c.lock_id, locks.c.version).where(locks.c.lock_id.in_(chunk))
        found.update({row.lock_id: row.version for row in await connection.execute(query)})
    return found


async def used_counts_of(
    connection: AsyncConnection, pairs: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], int]:
    found: dict[tuple[int, str], int] = {}
    for begin in range(0, len(pairs), CHUNK):
        chunk = pairs[begin : begin + CHUNK]
        query = select(temp_keys).where(
            tuple_(temp_keys.c.lock_id, temp_keys.c.temp_key_uuid).in_(chunk)
        )
        for row in await connection.execute(query):
            found[row.lock_id, row.temp_key_uuid] = row.used_count
    return found


async def existing_event_ids(connection: AsyncConnection, event_ids: Sequence[UUID]) -> set[UUID]:
    found: set[UUID] = set()
    for begin in range(0, len(event_ids), CHUNK):
        chunk = [event_id.bytes for event_id in event_ids[begin : begin + CHUNK]]
        query = select(events.c.event_id).where(events.c.event_id.in_(chunk))
        found.update(UUID(bytes=row.event_id) for row in await connection.execute(query))
    return found


async def position_of(connection: AsyncConnection, stream: str, partition: int) -> Position:
    query = select(positions).where(
        positions.c.stream == stream, positions.c.partition == partition
    )
    row = (await connection.execute(query)).first()
    return to_position(row) if row is not None else Position()


async def write_positions(
    connection: AsyncConnection, stream: str, current: dict[int, Position]
) -> None:
    for partition, at in current.items():
        await connection.execute(
            update(positions)
            .where(positions.c.stream == stream, positions.c.partition == partition)
            .values(**msgspec.structs.asdict(at))
        )


def to_position(row: object) -> Position:
    return msgspec.convert(row, Position, from_attributes=True)


def to_event_row(row: object) -> EventRow:
    return msgspec.convert(row, EventRow, from_attributes=True)
