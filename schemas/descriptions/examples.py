"""Gives one record of each type, as examples for those who read or write them."""

from uuid import UUID

from schemas.lock_events import (
    Event,
    EventHeaders,
    LockCreatedEvent,
    OrganizationSetEvent,
    RecordedTempKeyUse,
    TempKeyUsedEvent,
    event_type,
)
from schemas.lock_facts import (
    Actor,
    FactHeaders,
    LockCreated,
    LockCreation,
    OrganizationChange,
    OrganizationSet,
    TempKeyUse,
    TempKeyUsed,
)
from schemas.parked_facts import ParkedHeaders
from schemas.partner_events import Envelope, PartnerHeaders, envelope
from schemas.registry import (
    ApiKey,
    ApiKeyUse,
    LaneCount,
    Organization,
    ParkedDiscard,
    ParkedRepair,
    Partner,
    PositionKey,
    Replay,
)
from schemas.replay_events import ReplayEnded, ReplayEndedHeaders, replay_ended
from schemas.trace_context import TraceContext

_LOCK_ID = 123
_LOCK_UUID = UUID("4f6b8e6e-1f0a-5c52-9d1e-0a6f4b9f0c11")
_EVENT_ID = UUID("01a20943-063b-7611-93e4-06cdc29e2571")
_ORG = "acme"
_PARTNER = "acme-crm"
_OCCURRED = "2026-11-23T10:00:00.123Z"
_RECORDED = "2026-11-23T10:00:00.130Z"
_OPERATOR = Actor(kind="operator", subject="import")
_USER = Actor(kind="user", subject="alice", org_id=_ORG, key_id="abcDEF123456")
_TRACE = TraceContext(
    b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"congo=t61rcWkgMzE"
)
_POSITION = "xdXv3tl2UZ8d5FDab-XB4ZhGKN5E7Btt"
_CREATION = LockCreation(lock_uuid=_LOCK_UUID, org_id=_ORG)
_CHANGE = OrganizationChange(org_id=_ORG)

LOCK_CREATED = LockCreated(
    event_id=_EVENT_ID, lock_id=_LOCK_ID, occurred_at=_OCCURRED, actor=_OPERATOR, data=_CREATION
)
ORGANIZATION_SET = OrganizationSet(
    event_id=_EVENT_ID, lock_id=_LOCK_ID, occurred_at=_OCCURRED, actor=_OPERATOR, data=_CHANGE
)
TEMP_KEY_USED = TempKeyUsed(
    event_id=_EVENT_ID,
    lock_id=_LOCK_ID,
    occurred_at=_OCCURRED,
    actor=_USER,
    data=TempKeyUse(temp_key_uuid="example_string", user_id="example_string"),
)
FACT_HEADERS = FactHeaders(_TRACE.traceparent, _TRACE.tracestate)

LOCK_CREATED_EVENT = LockCreatedEvent(
    event_id=_EVENT_ID,
    lock_id=_LOCK_ID,
    occurred_at=_OCCURRED,
    actor=_OPERATOR,
    aggregate_id=_LOCK_UUID,
    org_id=_ORG,
    version=1,
    recorded_at=_RECORDED,
    data=_CREATION,
)
ORGANIZATION_SET_EVENT = OrganizationSetEvent(
    event_id=_EVENT_ID,
    lock_id=_LOCK_ID,
    occurred_at=_OCCURRED,
    actor=_OPERATOR,
    aggregate_id=_LOCK_UUID,
    org_id=_ORG,
    version=2,
    recorded_at=_RECORDED,
    data=_CHANGE,
)
TEMP_KEY_USED_EVENT = TempKeyUsedEvent(
    event_id=_EVENT_ID,
    lock_id=_LOCK_ID,
    occurred_at=_OCCURRED,
    actor=_USER,
    aggregate_id=_LOCK_UUID,
    org_id=_ORG,
    version=7,
    recorded_at=_RECORDED,
    data=RecordedTempKeyUse(
        temp_key_uuid="example_string",
        lock_uuid=_LOCK_UUID,
        lock_id=_LOCK_ID,
        used_count=3,
        user_id="example_string",
    ),
)
EVENTS = (LOCK_CREATED_EVENT, ORGANIZATION_SET_EVENT, TEMP_KEY_USED_EVENT)

PARKED_HEADERS = ParkedHeaders(
    reason="unknown-lock",
    detail="there is no lock 123",
    source_topic="lock-facts",
    source_offset=41,
    parked_at=_RECORDED,
    event_id=str(_EVENT_ID),
    lock_id=_LOCK_ID,
    org_id=_ORG,
)

ENVELOPES = tuple(envelope(event, _PARTNER) for event in reversed(EVENTS))

ORGANIZATION = Organization(id=_ORG, created_at=_OCCURRED)
API_KEY = ApiKey(key_id="abcDEF123456", org_id=_ORG, sha256="5e" * 32, created_at=_OCCURRED)
API_KEY_USE = ApiKeyUse(key_id="abcDEF123456", last_used_at=_RECORDED)
PARTNER = Partner(
    id=_PARTNER, org_id=_ORG, types=("*",), start_offsets=(0, 0, 0), created_at=_OCCURRED
)
REPLAY = Replay(
    partner_id=_PARTNER,
    number=1,
    org_id=_ORG,
    types=("*",),
    start_offsets=(0, 17, 4),
    end_offsets=(12, 17, 90),
    created_at=_OCCURRED,
    status="ended",
    ended_at=_RECORDED,
    counts=(9, 0, 41),
)
REPLAY_ENDED = replay_ended(_PARTNER, 1, 2, 41, _RECORDED)

PARKED_DISCARD = ParkedDiscard(
    id="3f1c2d7e0b6a4c58",
    places=("3:17", "3:18"),
    why="test data of a writer that is gone",
    by="alice",
    created_at=_RECORDED,
)
PARKED_REPAIR = ParkedRepair(place="3:19", event_id=_EVENT_ID, by="alice", created_at=_RECORDED)
LANE_COUNT = LaneCount(lanes=2, created_at=_RECORDED)
POSITION_KEY = PositionKey(key="5e" * 32, created_at=_RECORDED)


def event_headers(event: Event) -> EventHeaders:
    return EventHeaders(
        event_id=str(event.event_id),
        event_type=event_type(event),
        org_id=event.org_id,
        version=event.version,
        source_offset=41,
        traceparent=_TRACE.traceparent,
        tracestate=_TRACE.tracestate,
    )


def partner_headers(record: Envelope) -> PartnerHeaders:
    return PartnerHeaders.of(record, position=_POSITION, sequence=5, trace=_TRACE)


def replay_ended_headers(record: ReplayEnded) -> ReplayEndedHeaders:
    return ReplayEndedHeaders.of(record, position=_POSITION, sequence=record.detail.count + 1)
