"""Topic ``lock-events``: the lock event stream, every accepted fact once, with its version.

Key: the lock id in ASCII decimal. Value: one of ``Event``, UTF-8 JSON. Headers (``EventHeaders``)
carry all that routing needs, so that fan-out never decodes a value that it won't deliver.
Reading is lenient about fields that a later version adds.
"""

from typing import Annotated, Literal

import msgspec

from lockstream.schemas.lock_facts import (
    TRACEPARENT,
    Actor,
    LockCreation,
    OrganizationChange,
    Traceparent,
)
from lockstream.schemas.primitives import EventId, LockId, LockUuid, Name, OpaqueText, WrittenTime

Headers = tuple[tuple[str, bytes], ...]
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
    user_id: OpaqueText | None = None


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
        msgspec.DecodeError: not UTF-8 JSON, or not an event of a known type.
    """
    return _decoder.decode(value)


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

    def to_kafka(self) -> Headers:
        headers: Headers = (
            ("event-id", self.event_id.encode()),
            ("event-type", self.event_type.encode()),
            ("org-id", self.org_id.encode()),
            ("version", b"%d" % self.version),
            ("source-offset", b"%d" % self.source_offset),
        )
        if self.traceparent is not None:
            headers += ((TRACEPARENT, self.traceparent),)
        return headers

    @classmethod
    def from_kafka(cls, headers: Headers) -> "EventHeaders":
        """
        Raises:
            ValueError: a header is missing or is not what it should be.
        """
        named = dict(headers)
        try:
            return cls(
                event_id=named["event-id"].decode(),
                event_type=named["event-type"].decode(),
                org_id=named["org-id"].decode(),
                version=int(named["version"]),
                source_offset=int(named["source-offset"]),
                traceparent=named.get(TRACEPARENT),
            )
        except KeyError as missing:
            raise ValueError(f"the header {missing} is missing") from missing
