"""Folds committed records to rows. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

from runtime.errors import StreamViolation
from schemas.lock_events import Event, TempKeyUsedEvent
from schemas.parked_facts import ParkedHeaders

Row = dict[str, object]
EventValues = tuple[int, int, bytes, str, int, bytes]
"""A row of ``events`` in the order of its columns: there are thousands in one transaction."""


class CommittedEvent(msgspec.Struct, frozen=True, gc=False):
    """Holds one record of ``lock-events``. ``source_offset``: its fact's; ``value``: its bytes."""

    offset: int
    source_offset: int
    event: Event
    value: bytes


class ParkedFact(msgspec.Struct, frozen=True, gc=False):
    """Holds one record of ``lock-facts.parked``, without the fact itself."""

    offset: int
    headers: ParkedHeaders


class Stretch(msgspec.Struct, frozen=True):
    """Holds the committed records of ``[begin, end)`` of one partition, with none left out.
    ``generation``: of the model that they follow on; None if any will do."""

    partition: int
    begin: int
    end: int
    events: Sequence[CommittedEvent] = ()
    parked: Sequence[ParkedFact] = ()
    generation: int | None = None


class Rows(msgspec.Struct, frozen=True):
    """Holds what is to be written: ``locks`` and ``temp_keys`` replace, ``events`` are new."""

    locks: list[Row]
    temp_keys: list[Row]
    events: list[EventValues]


def fold(committed: Sequence[CommittedEvent], versions: Mapping[int, int]) -> Rows:
    """Makes the rows that these events leave. ``versions``: of each lock before them; absent for a
    new lock.

    Raises:
        StreamViolation: an event's version does not follow its lock's.
    """
    current = dict(versions)
    locks: dict[int, Row] = {}
    temp_keys: dict[tuple[int, str], Row] = {}
    events: list[EventValues] = []
    for record in committed:
        event = record.event
        expected = current.get(event.lock_id, 0) + 1
        if event.version != expected:
            raise StreamViolation(
                f"lock-events offset {record.offset}: lock {event.lock_id} is at version "
                f"{expected - 1}, and the next event says {event.version}"
            )
        current[event.lock_id] = event.version
        locks[event.lock_id] = {
            "lock_id": event.lock_id,
            "lock_uuid": event.aggregate_id.bytes,
            "org_id": event.org_id,
            "version": event.version,
            "updated_at": event.recorded_at,
        }
        if isinstance(event, TempKeyUsedEvent):
            key = (event.lock_id, event.data.temp_key_uuid)
            temp_keys[key] = {
                "lock_id": event.lock_id,
                "temp_key_uuid": event.data.temp_key_uuid,
                "used_count": event.data.used_count,
            }
        events.append(
            (
                event.lock_id,
                event.version,
                event.event_id.bytes,
                event.org_id,
                record.source_offset,
                record.value,
            )
        )
    return Rows(list(locks.values()), list(temp_keys.values()), events)
