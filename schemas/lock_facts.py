"""Defines the topic ``lock-facts``: what happened, as recorded, before it has a version.

Key: the lock id in ASCII decimal. Value: one of ``Fact``, UTF-8 JSON. Headers:
``FactHeaders``. Reading is strict: a field that nobody knows is not dropped from an
audit log, its record is parked, and can be retried once the writer or the projector is mended.
"""

from datetime import UTC
from typing import Annotated, Literal

import msgspec

from schemas.primitives import (
    EventId,
    Headers,
    LockId,
    LockUuid,
    Name,
    OpaqueText,
    Subject,
    Timestamp,
    read_time,
    write_time,
)
from schemas.trace_context import TraceContext
from schemas.undecodable import Undecodable, decode

Traceparent = Annotated[
    bytes, msgspec.Meta(description="W3C Trace Context of the command; ignored if malformed")
]
Tracestate = Annotated[
    bytes,
    msgspec.Meta(
        description="W3C Trace Context: what tracing systems add, up to 512 characters; ignored "
        "if malformed or without `traceparent`"
    ),
]

MAX_KEY_ID = 64


class FactHeaders(msgspec.Struct, frozen=True, omit_defaults=True):
    traceparent: Traceparent | None = None
    tracestate: Tracestate | None = None

    def to_kafka(self) -> Headers:
        return TraceContext(self.traceparent, self.tracestate).to_kafka()


class Actor(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    rename="camel",
    gc=False,
):
    """Who issued the command. Stands in the event for the audit; partners never see it."""

    kind: Literal["user", "service", "operator"]
    subject: Subject
    org_id: Name | None = None
    key_id: (
        Annotated[
            str, msgspec.Meta(description="The API key's id: at most 64 characters in a new fact")
        ]
        | None
    ) = None


ClaimedUser = Annotated[
    OpaqueText,
    msgspec.Meta(
        description="Who used the key, as the caller claims; may be left out, nothing checks it. "
        "1 to 128 characters, no control characters"
    ),
]


class TempKeyUse(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    rename="camel",
    gc=False,
):
    temp_key_uuid: OpaqueText
    user_id: ClaimedUser | None = None


class LockCreation(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", gc=False
):
    lock_uuid: LockUuid
    org_id: Name


class OrganizationChange(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", gc=False
):
    org_id: Name


class _Fact(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    tag_field="type",
    gc=False,
):
    event_id: EventId
    lock_id: LockId
    occurred_at: Timestamp
    actor: Actor


class LockCreated(_Fact, frozen=True, kw_only=True, tag="LockCreated", gc=False):
    data: LockCreation


class OrganizationSet(_Fact, frozen=True, kw_only=True, tag="OrganizationSet", gc=False):
    data: OrganizationChange


class TempKeyUsed(_Fact, frozen=True, kw_only=True, tag="TempKeyUsed", gc=False):
    data: TempKeyUse


Fact = LockCreated | OrganizationSet | TempKeyUsed

_decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
_encoder = msgspec.json.Encoder()


def decode_fact(value: bytes) -> Fact:
    """Reads one ``lock-facts`` value.

    Raises:
        Undecodable: not UTF-8 JSON, not of a known type, or not of that type's shape.
    """
    fact = decode(_decoder, value)
    try:
        moment = read_time(fact.occurred_at)
        if moment.tzinfo is not UTC:
            # In UTC it may lie before the year 1 or after 9999.
            write_time(moment)
    except (ValueError, OverflowError) as error:
        raise Undecodable(f"{error} - at `$.occurredAt`") from error
    # Not in the type, which events share: what was recorded stays readable.
    if fact.actor.key_id is not None and len(fact.actor.key_id) > MAX_KEY_ID:
        raise Undecodable(f"Expected `str` of length <= {MAX_KEY_ID} - at `$.actor.keyId`")
    return fact


def encode_fact(fact: Fact) -> bytes:
    return _encoder.encode(fact)


def fact_type(fact: Fact) -> str:
    """Returns the value of the field ``type``: ``TempKeyUsed`` and so on."""
    return str(fact.__struct_config__.tag)
