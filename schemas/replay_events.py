"""Defines the topics ``partner.<partnerId>.lock-events.replay.<number>``: events once more.

They hold the same records as the partner's topic did, with a ``sequence`` of their own, and behind
the last of them one end marker in each partition. The marker is a CloudEvent too: it has the next
``sequence``, no key, and says how many events stand before it.
"""

from typing import Annotated, Literal
from uuid import UUID, uuid5

import msgspec

from schemas.partner_events import SealedPosition, SequenceNumber
from schemas.primitives import EventId, EventIdText, Headers
from schemas.undecodable import decode

SOURCE = "lockstream"
REPLAY_ENDED: Literal["lockstream.ReplayEnded"] = "lockstream.ReplayEnded"
_NAMESPACE = UUID("6f4c1f9a-3a0e-5c43-9a39-0d1f0f0f5b7e")

EndedAt = Annotated[
    str,
    msgspec.Meta(
        description="When the last event was sent: UTC (RFC 3339)",
        extra_json_schema={"format": "date-time"},
    ),
]


class ReplayEndedDetail(msgspec.Struct, frozen=True, rename="camel"):
    partner_id: str
    replay: Annotated[int, msgspec.Meta(ge=1, description="The replay's number")]
    partition: Annotated[int, msgspec.Meta(ge=0, description="The partition that ends here")]
    count: Annotated[
        int, msgspec.Meta(ge=0, description="How many events stand before it in this partition")
    ]


class ReplayEnded(msgspec.Struct, frozen=True, rename={"detail_type": "detail-type"}):
    """The value of an end marker: nothing follows in its partition."""

    id: EventId
    source: Annotated[str, msgspec.Meta(description="`lockstream`")]
    detail_type: Literal["lockstream.ReplayEnded"]
    time: EndedAt
    detail: ReplayEndedDetail


class ReplayEndedHeaders(
    msgspec.Struct, frozen=True, kw_only=True, rename={"content_type": "content-type"}
):
    ce_specversion: Literal["1.0"]
    ce_id: EventIdText
    ce_source: Annotated[str, msgspec.Meta(description="`lockstream`")]
    ce_type: Literal["lockstream.ReplayEnded"]
    ce_time: EndedAt
    content_type: Literal["application/json"]
    sequence: SequenceNumber
    position: SealedPosition

    @classmethod
    def of(cls, record: ReplayEnded, *, position: str, sequence: int) -> "ReplayEndedHeaders":
        return cls(
            ce_specversion="1.0",
            ce_id=str(record.id),
            ce_source=record.source,
            ce_type=record.detail_type,
            ce_time=record.time,
            content_type="application/json",
            sequence=sequence,
            position=position,
        )

    def to_kafka(self) -> Headers:
        return (
            ("ce_specversion", self.ce_specversion.encode()),
            ("ce_id", self.ce_id.encode()),
            ("ce_source", self.ce_source.encode()),
            ("ce_type", self.ce_type.encode()),
            ("ce_time", self.ce_time.encode()),
            ("content-type", self.content_type.encode()),
            ("position", self.position.encode()),
            ("sequence", b"%d" % self.sequence),
        )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ReplayEnded)


def replay_ended(
    partner_id: str, number: int, partition: int, count: int, ended_at: str
) -> ReplayEnded:
    """Makes an end marker. Its id is always the same."""
    return ReplayEnded(
        id=uuid5(_NAMESPACE, f"{partner_id}\n{number}\n{partition}"),
        source=SOURCE,
        detail_type=REPLAY_ENDED,
        time=ended_at,
        detail=ReplayEndedDetail(partner_id, number, partition, count),
    )


def is_replay_end(headers: Headers) -> bool:
    """Returns whether a record of a replay's topic says that it is an end marker."""
    return dict(headers).get("ce_type") == REPLAY_ENDED.encode()


def encode_replay_ended(record: ReplayEnded) -> bytes:
    return _encoder.encode(record)


def decode_replay_ended(value: bytes) -> ReplayEnded:
    """Reads the value of an end marker.

    Raises:
        Undecodable: not one.
    """
    return decode(_decoder, value)
