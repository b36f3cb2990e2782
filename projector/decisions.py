"""Decides what becomes of a fact. Pure: ``(lock state, fact) → event | duplicate | parked``."""

from uuid import UUID

import msgspec

from schemas.lock_events import (
    Event,
    LockCreatedEvent,
    OrganizationSetEvent,
    RecordedTempKeyUse,
    TempKeyUsedEvent,
)
from schemas.lock_facts import Fact, LockCreated, OrganizationSet, TempKeyUsed
from schemas.parked_facts import Reason
from schemas.primitives import read_time, write_time


class LockState(msgspec.Struct, frozen=True, gc=False):
    lock_uuid: UUID
    org_id: str
    version: int


class Duplicate(msgspec.Struct, frozen=True):
    """The log already holds an event with this fact's id. The fact is dropped."""


class Parked(msgspec.Struct, frozen=True):
    reason: Reason
    detail: str


Decision = Event | Duplicate | Parked


def decide(
    fact: Fact,
    lock: LockState | None,
    *,
    uuid_owner: int | None,
    used_before: int,
    seen: bool,
    recorded_at: str,
) -> Decision:
    """Decides what becomes of ``fact``. ``uuid_owner``: the lock that has the UUID that a creation
    names; ``used_before``: how often the fact's temp key was used on this lock so far; ``seen``:
    whether the log holds an event with the fact's id."""
    if seen:
        return Duplicate()
    match fact:
        case LockCreated():
            if lock is not None:
                return Parked("lock-exists", f"lock {fact.lock_id} was created before")
            if uuid_owner is not None:
                return Parked("uuid-taken", f"lock {uuid_owner} has the uuid {fact.data.lock_uuid}")
            return LockCreatedEvent(
                event_id=fact.event_id,
                lock_id=fact.lock_id,
                occurred_at=canonical_time(fact.occurred_at),
                actor=fact.actor,
                aggregate_id=fact.data.lock_uuid,
                org_id=fact.data.org_id,
                version=1,
                recorded_at=recorded_at,
                data=fact.data,
            )
        case OrganizationSet():
            if lock is None:
                return _unknown(fact)
            return OrganizationSetEvent(
                event_id=fact.event_id,
                lock_id=fact.lock_id,
                occurred_at=canonical_time(fact.occurred_at),
                actor=fact.actor,
                aggregate_id=lock.lock_uuid,
                org_id=fact.data.org_id,
                version=lock.version + 1,
                recorded_at=recorded_at,
                data=fact.data,
            )
        case TempKeyUsed():
            if lock is None:
                return _unknown(fact)
            if fact.actor.org_id is not None and fact.actor.org_id != lock.org_id:
                return Parked(
                    "organization-mismatch",
                    f"recorded for organisation {fact.actor.org_id}, "
                    f"but lock {fact.lock_id} belongs to another",
                )
            return TempKeyUsedEvent(
                event_id=fact.event_id,
                lock_id=fact.lock_id,
                occurred_at=canonical_time(fact.occurred_at),
                actor=fact.actor,
                aggregate_id=lock.lock_uuid,
                org_id=lock.org_id,
                version=lock.version + 1,
                recorded_at=recorded_at,
                data=RecordedTempKeyUse(
                    temp_key_uuid=fact.data.temp_key_uuid,
                    lock_uuid=lock.lock_uuid,
                    lock_id=fact.lock_id,
                    used_count=used_before + 1,
                    user_id=fact.data.user_id,
                ),
            )


def canonical_time(text: str) -> str:
    """Writes a time as UTC with milliseconds, whatever offset and precision it came with."""
    if len(text) == 24 and text.endswith("Z"):
        return text
    return write_time(read_time(text))


def _unknown(fact: Fact) -> Parked:
    return Parked("unknown-lock", f"there is no lock {fact.lock_id}")
