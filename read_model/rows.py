"""Defines what the read model answers with."""

from uuid import UUID

import msgspec

from schemas.parked_facts import ParkedHeaders
from schemas.primitives import printable


class Position(msgspec.Struct, frozen=True):
    """Says how far a stream's partition is folded in. ``source_offset`` is -1 before the first
    record. ``newest_id_ms``: the largest time inside a folded UUIDv7 event id, -1 before the
    first."""

    next_offset: int = 0
    source_offset: int = -1
    newest_id_ms: int = -1


class LockRow(msgspec.Struct, frozen=True):
    lock_id: int
    lock_uuid: UUID
    org_id: str
    version: int
    updated_at: str


class EventRow(msgspec.Struct, frozen=True):
    """Holds an event as stored. ``value``: the ``lock-events`` value, bytes."""

    version: int
    org_id: str
    source_offset: int
    value: bytes


class ParkedRow(msgspec.Struct, frozen=True):
    lock_id: int | None
    org_id: str | None
    reason: str
    detail: str
    source_offset: int


class StoredParked(msgspec.Struct, frozen=True):
    """Holds all that a row of ``parked`` says of a parked fact."""

    event_id: bytes | None
    lock_id: int | None
    org_id: str | None
    reason: str
    detail: str
    source_offset: int

    @classmethod
    def of(cls, headers: ParkedHeaders) -> "StoredParked":
        return cls(
            event_id=UUID(headers.event_id).bytes if headers.event_id else None,
            lock_id=headers.lock_id,
            org_id=headers.org_id,
            reason=headers.reason,
            # PostgreSQL takes no NUL in text, and the log may hold some.
            detail=printable(headers.detail),
            source_offset=headers.source_offset,
        )


class Fate(msgspec.Struct, frozen=True):
    """Holds what the model has of an event id, and how far each partition of ``lock-events`` was
    folded in then."""

    event: EventRow | None
    parked: ParkedRow | None
    positions: dict[int, Position]


class Progress(msgspec.Struct, frozen=True):
    """Says how far the model has come. ``generation``: another after each emptying, and in each new
    database; by partition, how far events and parked facts are folded in."""

    generation: int
    events: dict[int, Position]
    parked: dict[int, Position]


class Known(msgspec.Struct, frozen=True):
    """Holds what the model knows of the locks, temp keys, event ids and lock UUIDs asked for.
    Adds how far the partition was folded in then, and the model's generation."""

    generation: int
    position: Position
    locks: dict[int, LockRow]
    used_counts: dict[tuple[int, str], int]
    event_ids: set[UUID]
    uuid_owners: dict[UUID, int]
