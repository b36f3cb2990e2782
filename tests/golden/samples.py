"""Records as they are written today, of every published type: with all fields, and with the fewest.

Their ids and times are fixed, so that a record's bytes differ only if the way it is written does.
"""

from typing import Any
from uuid import UUID

import msgspec

from fanout.positions import Positions
from schemas.lock_events import (
    Event,
    EventHeaders,
    LockCreatedEvent,
    OrganizationSetEvent,
    RecordedTempKeyUse,
    TempKeyUsedEvent,
    decode_event,
    encode_event,
    event_type,
)
from schemas.lock_facts import (
    Actor,
    Fact,
    FactHeaders,
    LockCreated,
    LockCreation,
    OrganizationChange,
    OrganizationSet,
    TempKeyUse,
    TempKeyUsed,
    decode_fact,
    encode_fact,
)
from schemas.parked_facts import ParkedHeaders, original_headers
from schemas.partner_events import (
    PartnerPosition,
    decode_envelope,
    encode_envelope,
    envelope,
    partner_headers,
)
from schemas.primitives import Headers
from schemas.registry import (
    ApiKey,
    ApiKeyUse,
    EarlierTypes,
    Entry,
    LaneCount,
    Organization,
    ParkedDiscard,
    ParkedRepair,
    Partner,
    PositionKey,
    Replay,
    decode_entry,
    encode_entry,
    entry_key,
)
from schemas.replay_events import (
    ReplayEndedHeaders,
    decode_replay_ended,
    encode_replay_ended,
    replay_ended,
)
from schemas.topics import lock_key
from schemas.trace_context import NO_TRACE, TraceContext

LOCK_ID = 123
LOCK_UUID = UUID("4f6b8e6e-1f0a-5c52-9d1e-0a6f4b9f0c11")
EVENT_ID = UUID("01a20943-063b-7611-93e4-06cdc29e2571")
TIME, LATER = "2026-11-23T10:00:00.123Z", "2026-11-23T10:00:00.130Z"
TRACE = TraceContext(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
WHOLE_TRACE = TraceContext(TRACE.traceparent, b"congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
OPERATOR = Actor(kind="operator", subject="import")
POSITION_KEY = PositionKey(key="5e" * 32, created_at=TIME)
PARTNER_TOPIC, PARTITION = "partner.acme-crm.lock-events", 3
SERVICE = Actor(kind="service", subject="open-flow", org_id="acme", key_id="abcDEF123456")


class Record(msgspec.Struct, frozen=True):
    """A record as Kafka holds it."""

    key: bytes
    value: bytes
    headers: Headers = ()


def _fact(fact: Fact, trace: TraceContext = NO_TRACE) -> Record:
    headers = FactHeaders(trace.traceparent, trace.tracestate)
    return Record(lock_key(fact.lock_id), encode_fact(fact), headers.to_kafka())


def _event(event: Event, trace: TraceContext = NO_TRACE) -> Record:
    headers = EventHeaders(
        event_id=str(event.event_id),
        event_type=event_type(event),
        org_id=event.org_id,
        version=event.version,
        source_offset=41,
        traceparent=trace.traceparent,
        tracestate=trace.tracestate,
    )
    return Record(lock_key(event.lock_id), encode_event(event), headers.to_kafka())


def _partner_event(event: Event, trace: TraceContext = NO_TRACE) -> Record:
    record = envelope(event, "acme-crm")
    position = Positions(POSITION_KEY).seal(PARTNER_TOPIC, PARTITION, 5, source_offset=97)
    headers = partner_headers(record, position=position, sequence=5, trace=trace)
    return Record(lock_key(event.lock_id), encode_envelope(record), headers)


def _replay_ended() -> Record:
    record = replay_ended("acme-crm", 1, PARTITION, 4, TIME)
    topic = f"{PARTNER_TOPIC}.replay.1"
    position = Positions(POSITION_KEY).seal(topic, PARTITION, 5, source_offset=97)
    headers = ReplayEndedHeaders.of(record, position=position, sequence=5)
    return Record(b"", encode_replay_ended(record), headers.to_kafka())


def _entry(entry: Entry) -> Record:
    return Record(entry_key(entry), encode_entry(entry))


def samples() -> dict[str, Record]:
    """By name: the published schema's of its value, then what is special about it."""
    created = LockCreated(
        event_id=EVENT_ID,
        lock_id=LOCK_ID,
        occurred_at=TIME,
        actor=OPERATOR,
        data=LockCreation(lock_uuid=LOCK_UUID, org_id="acme"),
    )
    moved = OrganizationSet(
        event_id=EVENT_ID,
        lock_id=LOCK_ID,
        occurred_at=TIME,
        actor=OPERATOR,
        data=OrganizationChange(org_id="other"),
    )
    used = TempKeyUsed(
        event_id=EVENT_ID,
        lock_id=LOCK_ID,
        occurred_at=TIME,
        actor=SERVICE,
        data=TempKeyUse(temp_key_uuid='Schlüssel "1" 🔑', user_id="example_string"),
    )
    used_without_user = msgspec.structs.replace(used, data=TempKeyUse(temp_key_uuid="key-1"))
    recorded: dict[str, Any] = {
        "event_id": EVENT_ID,
        "lock_id": LOCK_ID,
        "occurred_at": TIME,
        "aggregate_id": LOCK_UUID,
        "recorded_at": LATER,
    }
    created_event = LockCreatedEvent(
        **recorded, actor=OPERATOR, org_id="acme", version=1, data=created.data
    )
    moved_event = OrganizationSetEvent(
        **recorded, actor=OPERATOR, org_id="other", version=2, data=moved.data
    )
    used_event = TempKeyUsedEvent(
        **recorded,
        actor=SERVICE,
        org_id="acme",
        version=7,
        data=RecordedTempKeyUse(
            temp_key_uuid=used.data.temp_key_uuid,
            lock_uuid=LOCK_UUID,
            lock_id=LOCK_ID,
            used_count=3,
            user_id="example_string",
        ),
    )
    used_event_without_user = msgspec.structs.replace(
        used_event, data=msgspec.structs.replace(used_event.data, user_id=None)
    )
    parked = ParkedHeaders(
        reason="unknown-lock",
        detail="there is no lock 123",
        source_topic="lock-facts",
        source_offset=41,
        parked_at=LATER,
        event_id=str(EVENT_ID),
        lock_id=LOCK_ID,
        org_id="acme",
    )
    unreadable = msgspec.structs.replace(
        parked, reason="undecodable", event_id=None, lock_id=None, org_id=None
    )
    return {
        "lock-facts.LockCreated": _fact(created),
        "lock-facts.OrganizationSet": _fact(moved),
        "lock-facts.TempKeyUsed": _fact(used, TRACE),
        "lock-facts.TempKeyUsed.traced": _fact(used, WHOLE_TRACE),
        "lock-facts.TempKeyUsed.without-user": _fact(used_without_user),
        "lock-events.LockCreated": _event(created_event),
        "lock-events.OrganizationSet": _event(moved_event),
        "lock-events.TempKeyUsed": _event(used_event, TRACE),
        "lock-events.TempKeyUsed.traced": _event(used_event, WHOLE_TRACE),
        "lock-events.TempKeyUsed.without-user": _event(used_event_without_user),
        "lock-facts.parked": Record(
            lock_key(LOCK_ID), encode_fact(used), (*TRACE.to_kafka(), *parked.to_kafka())
        ),
        "lock-facts.parked.unreadable": Record(b"123", b"{", unreadable.to_kafka()),
        "partner.lock-events.LockCreated": _partner_event(created_event),
        "partner.lock-events.OrganizationSet": _partner_event(moved_event),
        "partner.lock-events.TempKeyUsed": _partner_event(used_event, TRACE),
        "partner.lock-events.TempKeyUsed.traced": _partner_event(used_event, WHOLE_TRACE),
        "partner.lock-events.TempKeyUsed.without-user": _partner_event(used_event_without_user),
        "partner.replay.ended": _replay_ended(),
        "registry.organization": _entry(Organization(id="acme", created_at=TIME)),
        "registry.apiKey": _entry(
            ApiKey(
                key_id="abcDEF123456",
                org_id="acme",
                sha256="5e" * 32,
                created_at=TIME,
                not_after=LATER,
                revoked_at=LATER,
            )
        ),
        "registry.apiKey.live": _entry(
            ApiKey(key_id="abcDEF123456", org_id="acme", sha256="5e" * 32, created_at=TIME)
        ),
        "registry.apiKeyUse": _entry(ApiKeyUse(key_id="abcDEF123456", last_used_at=LATER)),
        "registry.parkedDiscard": _entry(
            ParkedDiscard(
                id="1", places=("3:17", "11:0"), why="a test", by="alice", created_at=TIME
            )
        ),
        "registry.parkedRepair": _entry(
            ParkedRepair(place="3:17", event_id=EVENT_ID, by="alice", created_at=TIME)
        ),
        "registry.lanes": _entry(LaneCount(lanes=2, unfenced=(0, 4), created_at=TIME)),
        "registry.positionKey": _entry(POSITION_KEY),
        "registry.replay": _entry(
            Replay(
                partner_id="acme-crm",
                number=2,
                org_id="acme",
                types=("*",),
                earlier=(EarlierTypes(types=("LockCreated",), until=(12, 40)),),
                start_offsets=(0, 17),
                end_offsets=(90, 17),
                created_at=TIME,
                status="ended",
                ended_at=LATER,
                counts=(41, 0),
            )
        ),
        "registry.replay.running": _entry(
            Replay(
                partner_id="acme-crm",
                number=1,
                org_id="acme",
                types=("*",),
                start_offsets=(0,),
                end_offsets=(90,),
                created_at=TIME,
            )
        ),
        "registry.lanes.settled": _entry(LaneCount(lanes=2, created_at=TIME)),
        "registry.partner": _entry(
            Partner(
                id="acme-crm",
                org_id="acme",
                types=("TempKeyUsed", "LockCreated"),
                start_offsets=(0, 17),
                created_at=TIME,
                status="paused",
            )
        ),
        "registry.partner.changed": _entry(
            Partner(
                id="acme-crm",
                org_id="acme",
                types=("*",),
                start_offsets=(0, 17),
                created_at=TIME,
                earlier=(EarlierTypes(types=("LockCreated",), until=(12, 40)),),
            )
        ),
        "registry.partner.active": _entry(
            Partner(id="acme-crm", org_id="acme", types=("*",), start_offsets=(0,), created_at=TIME)
        ),
    }


def meaning(name: str, record: Record) -> dict[str, Any]:
    """What our code reads out of a record: every field by its name on the wire, those that were
    left out with what that means.

    Raises:
        ValueError: it can't be read.
    """
    if name.startswith("lock-facts.parked"):
        return {
            "headers": _fields(ParkedHeaders.from_kafka(record.headers)),
            "original headers": [[k, v.decode()] for k, v in original_headers(record.headers)],
        }
    if name.startswith("lock-facts"):
        trace = TraceContext.of(record.headers)
        return {
            "value": _fields(decode_fact(record.value)),
            "headers": _fields(FactHeaders(trace.traceparent, trace.tracestate)),
        }
    if name.startswith("lock-events"):
        return {
            "value": _fields(decode_event(record.value)),
            "headers": _fields(EventHeaders.from_kafka(record.headers)),
        }
    if name.startswith("partner.replay"):
        return {
            "value": _fields(decode_replay_ended(record.value)),
            "headers": _fields(PartnerPosition.from_kafka(record.headers)),
        }
    if name.startswith("partner"):
        return {
            "value": _fields(decode_envelope(record.value)),
            "headers": _fields(PartnerPosition.from_kafka(record.headers)),
        }
    entry = decode_entry(record.value)
    return {"value": _fields(entry), "key": entry_key(entry).decode()}


def _fields(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        named = {
            field.encode_name: _fields(getattr(value, field.name))
            for field in msgspec.structs.fields(value)
        }
        config = value.__struct_config__
        return {config.tag_field: config.tag, **named} if config.tag_field else named
    if isinstance(value, tuple | list):
        return [_fields(part) for part in value]
    if isinstance(value, bytes):
        return value.decode()
    return str(value) if isinstance(value, UUID) else value
