"""Defines the topics ``partner.<partnerId>.lock-events``: one partner's events.

Key: the lock id in ASCII decimal. Value: the envelope that SmartphoneKey's partners know. Headers
make the record a binary-mode CloudEvent (CloudEvents 1.0, Kafka protocol binding, section 3.2) and
add ``sequence``: 1, 2, 3 … per partition of this topic, without a gap, by which a partner can prove
that it has missed nothing; and ``position``: where its event stands in ``lock-events``, readable
for the installation alone, since offsets there count everybody's events.
"""

from typing import Annotated, Literal

import msgspec

from schemas.lock_events import (
    Event,
    LockCreatedEvent,
    OrganizationSetEvent,
    TempKeyUsedEvent,
    UsedCount,
    Version,
    event_type,
)
from schemas.lock_facts import ClaimedUser, Traceparent, Tracestate
from schemas.primitives import (
    EventId,
    EventIdText,
    Headers,
    LockId,
    LockUuid,
    Name,
    OpaqueText,
    epoch_ms,
    read_time,
)
from schemas.trace_context import NO_TRACE, TraceContext
from schemas.undecodable import NamedHeaders, decode

SOURCE = "spk.api"


HappenedAt = Annotated[
    str,
    msgspec.Meta(
        description="When it happened: UTC (RFC 3339)", extra_json_schema={"format": "date-time"}
    ),
]


class _PartnerData(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename="camel",
    tag_field="type",
):
    lock_id: LockId
    lock_uuid: LockUuid


class LockCreatedData(_PartnerData, frozen=True, kw_only=True, tag="LockCreated"):
    org_id: Name
    timestamp: HappenedAt


class OrganizationSetData(_PartnerData, frozen=True, kw_only=True, tag="OrganizationSet"):
    org_id: Name
    timestamp: HappenedAt


class TempKeyUsedData(_PartnerData, frozen=True, kw_only=True, tag="TempKeyUsed"):
    temp_key_uuid: OpaqueText
    user_id: ClaimedUser | None = None
    used_count: UsedCount
    timestamp: HappenedAt


PartnerData = LockCreatedData | OrganizationSetData | TempKeyUsedData


class Detail(msgspec.Struct, frozen=True, rename="camel"):
    partner_id: str
    aggregate_type: Literal["lock"]
    aggregate_id: LockUuid
    version: Version
    timestamp: Annotated[
        int, msgspec.Meta(description="When it happened, milliseconds since 1970-01-01 UTC")
    ]
    data: PartnerData


class Envelope(msgspec.Struct, frozen=True, rename={"detail_type": "detail-type"}):
    id: EventId
    source: Annotated[str, msgspec.Meta(description="`spk.api`")]
    detail_type: Annotated[str, msgspec.Meta(description="The event's type")]
    time: HappenedAt
    detail: Detail


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


def partner_data(event: Event) -> PartnerData:
    """Returns what a partner, and the HTTP caller, may see of an event's data: not the actor."""
    match event:
        case TempKeyUsedEvent():
            return TempKeyUsedData(
                lock_id=event.lock_id,
                lock_uuid=event.aggregate_id,
                temp_key_uuid=event.data.temp_key_uuid,
                user_id=event.data.user_id,
                used_count=event.data.used_count,
                timestamp=event.occurred_at,
            )
        case LockCreatedEvent():
            return LockCreatedData(
                lock_id=event.lock_id,
                lock_uuid=event.aggregate_id,
                org_id=event.data.org_id,
                timestamp=event.occurred_at,
            )
        case OrganizationSetEvent():
            return OrganizationSetData(
                lock_id=event.lock_id,
                lock_uuid=event.aggregate_id,
                org_id=event.data.org_id,
                timestamp=event.occurred_at,
            )


def envelope(event: Event, partner_id: str) -> Envelope:
    return Envelope(
        id=event.event_id,
        source=SOURCE,
        detail_type=event_type(event),
        time=event.occurred_at,
        detail=Detail(
            partner_id=partner_id,
            aggregate_type="lock",
            aggregate_id=event.aggregate_id,
            version=event.version,
            timestamp=epoch_ms(read_time(event.occurred_at)),
            data=partner_data(event),
        ),
    )


def encode_envelope(record: Envelope) -> bytes:
    return _encoder.encode(record)


def decode_envelope(value: bytes) -> Envelope:
    """Reads one value of a partner's topic.

    Raises:
        Undecodable: not an envelope.
    """
    return decode(_decoder, value)


SealedPosition = Annotated[
    str,
    msgspec.Meta(
        description="For Lockstream itself, by which it goes on where it was; it says nothing to "
        "others. Old records have none"
    ),
]
SequenceNumber = Annotated[
    int, msgspec.Meta(ge=1, description="1, 2, 3 … per partition of this topic, without a gap")
]


class PartnerHeaders(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={
        "content_type": "content-type",
        "source_offset": "source-offset",
    },
):
    ce_specversion: Literal["1.0"]
    ce_id: EventIdText
    ce_source: Annotated[str, msgspec.Meta(description="`spk.api`")]
    ce_type: Annotated[str, msgspec.Meta(description="The event's type")]
    ce_time: HappenedAt
    ce_subject: Annotated[
        str, msgspec.Meta(description="The lock's UUID", extra_json_schema={"format": "uuid"})
    ]
    content_type: Literal["application/json"]
    sequence: SequenceNumber
    position: SealedPosition | None = None
    source_offset: (
        Annotated[
            int,
            msgspec.Meta(
                description="Not written any more; in old records the event's, in `lock-events`",
                extra_json_schema={"deprecated": True},
            ),
        ]
        | None
    ) = None
    traceparent: Traceparent | None = None
    tracestate: Tracestate | None = None

    @classmethod
    def of(
        cls,
        record: Envelope,
        *,
        position: str,
        sequence: int,
        trace: TraceContext = NO_TRACE,
    ) -> "PartnerHeaders":
        return cls(
            ce_specversion="1.0",
            ce_id=str(record.id),
            ce_source=record.source,
            ce_type=record.detail_type,
            ce_time=record.time,
            ce_subject=str(record.detail.aggregate_id),
            content_type="application/json",
            position=position,
            sequence=sequence,
            traceparent=trace.traceparent,
            tracestate=trace.tracestate,
        )

    def to_kafka(self) -> Headers:
        headers: Headers = (
            ("ce_specversion", self.ce_specversion.encode()),
            ("ce_id", self.ce_id.encode()),
            ("ce_source", self.ce_source.encode()),
            ("ce_type", self.ce_type.encode()),
            ("ce_time", self.ce_time.encode()),
            ("ce_subject", self.ce_subject.encode()),
            ("content-type", self.content_type.encode()),
            ("position", (self.position or "").encode()),
            ("sequence", b"%d" % self.sequence),
        )
        return headers + TraceContext(self.traceparent, self.tracestate).to_kafka()


def partner_headers(
    record: Envelope, *, position: str, sequence: int, trace: TraceContext = NO_TRACE
) -> Headers:
    """Makes a partner record's headers. ``position``: as the installation has sealed it;
    ``sequence``: in this partition."""
    return PartnerHeaders.of(record, position=position, sequence=sequence, trace=trace).to_kafka()


class PartnerPosition(msgspec.Struct, frozen=True):
    """Says how far a partner's partition has come, as its records' headers have it. ``position``:
    where the event stood, sealed; ``source_offset``: the same, readable, in records of before."""

    sequence: int
    position: str | None = None
    source_offset: int | None = None

    @classmethod
    def from_kafka(cls, headers: Headers) -> "PartnerPosition":
        """Reads the position in a partner record's headers.

        Raises:
            Undecodable: a header is missing, or is no text or number.
        """
        named = NamedHeaders(headers)
        sequence = named.number("sequence")
        if named.value("position") is None and named.value("source-offset") is not None:
            return cls(sequence, source_offset=named.number("source-offset"))
        return cls(sequence, named.text("position"))
