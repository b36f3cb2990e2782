"""Valid records to start from, for tests that care about one field of them."""

from uuid import UUID, uuid4

from eventlog.records import Record
from eventlog.registry import Registry
from fanout.positions import Positions
from schemas.lock_events import (
    LockCreatedEvent,
    RecordedTempKeyUse,
    TempKeyUsedEvent,
)
from schemas.lock_facts import (
    Actor,
    LockCreated,
    LockCreation,
    OrganizationChange,
    OrganizationSet,
    TempKeyUse,
    TempKeyUsed,
)
from schemas.primitives import default_lock_uuid
from schemas.registry import Entry, PositionKey, encode_entry, entry_key

TIME = "2026-11-23T10:00:00.123Z"
POSITION_KEY = PositionKey(key="5e" * 32, created_at=TIME)
POSITIONS = Positions(POSITION_KEY)
LOCK_UUID = UUID("4f6b8e6e-1f0a-5c52-9d1e-0a6f4b9f0c11")


def actor(org_id: str | None = "acme") -> Actor:
    return Actor(kind="service", subject="open-flow", org_id=org_id, key_id="abcDEF123456")


def lock_created(
    lock_id: int = 7,
    org_id: str = "acme",
    event_id: UUID | None = None,
    lock_uuid: UUID | None = None,
) -> LockCreated:
    """Lock 7 has ``LOCK_UUID``, and each other lock its own, unless another is named."""
    own = LOCK_UUID if lock_id == 7 else default_lock_uuid(lock_id)
    return LockCreated(
        event_id=event_id or uuid4(),
        lock_id=lock_id,
        occurred_at=TIME,
        actor=Actor(kind="operator", subject="import"),
        data=LockCreation(lock_uuid=lock_uuid or own, org_id=org_id),
    )


def organization_set(lock_id: int = 7, org_id: str = "other") -> OrganizationSet:
    return OrganizationSet(
        event_id=uuid4(),
        lock_id=lock_id,
        occurred_at=TIME,
        actor=Actor(kind="operator", subject="import"),
        data=OrganizationChange(org_id=org_id),
    )


def temp_key_used(
    lock_id: int = 7,
    temp_key: str = "key-1",
    *,
    event_id: UUID | None = None,
    org_id: str | None = "acme",
    user_id: str | None = None,
) -> TempKeyUsed:
    return TempKeyUsed(
        event_id=event_id or uuid4(),
        lock_id=lock_id,
        occurred_at=TIME,
        actor=actor(org_id),
        data=TempKeyUse(temp_key_uuid=temp_key, user_id=user_id),
    )


def created_event(lock_id: int = 7, org_id: str = "acme") -> LockCreatedEvent:
    fact = lock_created(lock_id, org_id)
    return LockCreatedEvent(
        event_id=fact.event_id,
        lock_id=lock_id,
        occurred_at=TIME,
        actor=fact.actor,
        aggregate_id=LOCK_UUID,
        org_id=org_id,
        version=1,
        recorded_at=TIME,
        data=fact.data,
    )


def used_event(
    lock_id: int = 7,
    version: int = 2,
    *,
    used_count: int = 1,
    org_id: str = "acme",
    event_id: UUID | None = None,
    temp_key: str = "key-1",
) -> TempKeyUsedEvent:
    return TempKeyUsedEvent(
        event_id=event_id or uuid4(),
        lock_id=lock_id,
        occurred_at=TIME,
        actor=actor(org_id),
        aggregate_id=LOCK_UUID,
        org_id=org_id,
        version=version,
        recorded_at=TIME,
        data=RecordedTempKeyUse(
            temp_key_uuid=temp_key,
            lock_uuid=LOCK_UUID,
            lock_id=lock_id,
            used_count=used_count,
            user_id="user-1",
        ),
    )


def registry_of(*entries: Entry) -> Registry:
    """As it is once they have been read."""
    registry = Registry()
    records = [Record(0, n, 0, entry_key(e), encode_entry(e), ()) for n, e in enumerate(entries)]
    registry.take("registry", records)
    return registry
