"""Topic ``lock-events``: the lock event stream, every accepted fact once, with its version.

Key: the lock id in ASCII decimal. Value: one of ``Event``, UTF-8 JSON. Headers (``EventHeaders``)
carry all that routing needs, so that fan-out never decodes a value that it won't deliver.
Reading is lenient about fields that a later version adds.
"""

from typing import Annotated, Literal

import msgspec

from schemas.lock_facts import (
    Actor,
    ClaimedUser,
    LockCreation,
    OrganizationChange,
    Traceparent,
    Tracestate,
)
from schemas.primitives import EventId, Headers, LockId, LockUuid, Name, OpaqueText, WrittenTime
from schemas.trace_context import TRACEPARENT, TRACESTATE, TraceContext
from schemas.undecodable import MAX_NUMBER, NamedHeaders, Undecodable, decode

Version = Annotated[int, msgspec.Meta(ge=1, description="1, 2, 3 … per lock, without a gap")]

UsedCount = Annotated[
    int,
    msgspec.Meta(
        ge=1,
        description="How often this temp key has been used on this lock, this time included",
    ),
]


class RecordedTempKeyUse(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    temp_key_uuid: OpaqueText
    lock_uuid: LockUuid
    lock_id: LockId
    used_count: UsedCount
    user_id: ClaimedUser | None = None


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    event_id: EventId
    lock_id: LockId
    occurred_at: WrittenTime
    actor: Actor
    aggregate_id: LockUuid
    org_id: Annotated[Name, msgspec.Meta(description="Whose lock it was when this happened")]
    version: Version
    recorded_at: WrittenTime
    aggregate_type: Literal["lock"] = "lock"


class LockCreatedEvent(_Event, frozen=True, kw_only=True, tag="LockCreated"):
    data: LockCreation


class OrganizationSetEvent(_Event, frozen=True, kw_only=True, tag="OrganizationSet"):
    data: OrganizationChange


class TempKeyUsedEvent(_Event, frozen=True, kw_only=True, tag="TempKeyUsed"):
    data: RecordedTempKeyUse


Event = LockCreatedEvent | OrganizationSetEvent | TempKeyUsedEvent
EVENT_TYPES = ("LockCreated", "OrganizationSet", "TempKeyUsed")

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


def event_type(event: Event) -> str:
    """``TempKeyUsed`` and so on: the value of the field ``type``."""
    return str(event.__struct_config__.tag)


def decode_event(value: bytes) -> Event:
    """Reads one ``lock-events`` value.

    Raises:
        Undecodable: not UTF-8 JSON, not an event of a known type, or with a number that no
            database holds.
    """
    event = decode(_decoder, value)
    if event.version > MAX_NUMBER:
        raise Undecodable(f"Expected `int` <= {MAX_NUMBER} - at `$.version`")
    if isinstance(event, TempKeyUsedEvent) and event.data.used_count > MAX_NUMBER:
        raise Undecodable(f"Expected `int` <= {MAX_NUMBER} - at `$.data.usedCount`")
    return event


def encode_event(event: Event) -> bytes:
    return _encoder.encode(event)


class EventHeaders(msgspec.Struct, frozen=True, omit_defaults=True, rename="kebab"):
    """The headers of a ``lock-events`` record. ``source_offset``: its fact's, in ``lock-facts``."""

    event_id: str
    event_type: str
    org_id: str
    version: int
    source_offset: int
    traceparent: Traceparent | None = None
    tracestate: Tracestate | None = None

    @property
    def trace(self) -> TraceContext:
        """As far as it is well-formed."""
        return TraceContext.read(self.traceparent, self.tracestate)

    def to_kafka(self) -> Headers:
        headers: Headers = (
            ("event-id", self.event_id.encode()),
            ("event-type", self.event_type.encode()),
            ("org-id", self.org_id.encode()),
            ("version", b"%d" % self.version),
            ("source-offset", b"%d" % self.source_offset),
        )
        return headers + TraceContext(self.traceparent, self.tracestate).to_kafka()

    @classmethod
    def from_kafka(cls, headers: Headers) -> "EventHeaders":
        """
        Raises:
            Undecodable: a header is missing or is not what it should be.
        """
        named = NamedHeaders(headers)
        return cls(
            event_id=named.text("event-id"),
            event_type=named.text("event-type"),
            org_id=named.text("org-id"),
            version=named.number("version"),
            source_offset=named.number("source-offset"),
            traceparent=named.value(TRACEPARENT),
            tracestate=named.value(TRACESTATE),
        )
