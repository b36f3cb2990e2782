"""Defines the topic ``lock-events``: the lock event stream, every accepted fact once, with its
version.

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
from schemas.records import BadRecord, LogRecord, Place
from schemas.trace_context import TRACEPARENT, TRACESTATE, TraceContext
from schemas.undecodable import MAX_NUMBER, NamedHeaders, Undecodable, decode, read_number

Version = Annotated[int, msgspec.Meta(ge=1, description="1, 2, 3 … per lock, without a gap")]

UsedCount = Annotated[
    int,
    msgspec.Meta(
        ge=1,
        description="How often this temp key has been used on this lock, this time included",
    ),
]


class RecordedTempKeyUse(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", gc=False):
    temp_key_uuid: OpaqueText
    lock_uuid: LockUuid
    lock_id: LockId
    used_count: UsedCount
    user_id: ClaimedUser | None = None


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", gc=False):
    event_id: EventId
    lock_id: LockId
    occurred_at: WrittenTime
    actor: Actor
    aggregate_id: LockUuid
    org_id: Annotated[Name, msgspec.Meta(description="Whose lock it was when this happened")]
    version: Version
    recorded_at: WrittenTime
    aggregate_type: Literal["lock"] = "lock"


class LockCreatedEvent(_Event, frozen=True, kw_only=True, tag="LockCreated", gc=False):
    data: LockCreation


class OrganizationSetEvent(_Event, frozen=True, kw_only=True, tag="OrganizationSet", gc=False):
    data: OrganizationChange


class TempKeyUsedEvent(_Event, frozen=True, kw_only=True, tag="TempKeyUsed", gc=False):
    data: RecordedTempKeyUse


Event = LockCreatedEvent | OrganizationSetEvent | TempKeyUsedEvent
EVENT_TYPES = ("LockCreated", "OrganizationSet", "TempKeyUsed")

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


def event_type(event: Event) -> str:
    """Returns the value of the field ``type``: ``TempKeyUsed`` and so on."""
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


class EventHeaders(msgspec.Struct, frozen=True, omit_defaults=True, rename="kebab", gc=False):
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
        """Returns the trace, as far as it is well-formed."""
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
        """Reads the headers of one ``lock-events`` record.

        Raises:
            Undecodable: a header is missing or is not what it should be.
        """
        values = dict(headers)
        try:
            version = read_number(values["version"])
            source_offset = read_number(values["source-offset"])
            if version >= 0 and source_offset >= 0:
                return cls(
                    values["event-id"].decode(),
                    values["event-type"].decode(),
                    values["org-id"].decode(),
                    version,
                    source_offset,
                    values.get(TRACEPARENT),
                    values.get(TRACESTATE),
                )
        except (KeyError, AttributeError, UnicodeDecodeError):
            pass
        return cls._read_one_by_one(headers)

    @classmethod
    def _read_one_by_one(cls, headers: Headers) -> "EventHeaders":
        """Reads what ``from_kafka`` could not, and so says which header is to blame."""
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


class EventRecord(msgspec.Struct, frozen=True, gc=False):
    """Holds one record of ``lock-events``; its value is decoded on demand."""

    place: Place
    headers: EventHeaders
    value: bytes

    @classmethod
    def read(cls, topic: str, record: LogRecord) -> "EventRecord":
        """Reads a record's headers.

        Raises:
            BadRecord: a header is missing or is not what it should be.
        """
        place = Place.of(topic, record)
        try:
            return cls(place, EventHeaders.from_kafka(record.headers), record.value or b"")
        except Undecodable as error:
            raise BadRecord(place, error) from error

    def event(self) -> Event:
        """Decodes the value.

        Raises:
            BadRecord: as ``decode_event``.
        """
        try:
            return decode_event(self.value)
        except Undecodable as error:
            raise BadRecord(self.place, error) from error

    def check_follows(self, source_offset: int) -> None:
        """Checks that its fact stands behind the last event's, as projectors write them.

        Raises:
            BadRecord: its fact does not stand behind ``source_offset``.
        """
        own = self.headers.source_offset
        if own <= source_offset:
            why = f"its source-offset {own} does not follow {source_offset}"
            raise BadRecord(self.place, why)
