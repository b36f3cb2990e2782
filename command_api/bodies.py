"""Defines the bodies of the answers, as they are sent and as ``/openapi.json`` describes them."""

from typing import Literal
from uuid import UUID

import msgspec

from schemas.partner_events import HappenedAt, PartnerData
from schemas.primitives import WrittenTime


class EventBody(msgspec.Struct, frozen=True):
    id: UUID
    type: str
    data: PartnerData


class RecordedBody(msgspec.Struct, frozen=True, rename="camel"):
    success: bool
    aggregate_id: UUID
    version: int
    event: EventBody


class PendingBody(msgspec.Struct, frozen=True, rename="camel"):
    success: bool
    aggregate_id: UUID
    event_id: UUID
    status: Literal["pending"] = "pending"


class LockBody(msgspec.Struct, frozen=True, rename="camel"):
    lock_id: int
    aggregate_id: UUID
    org_id: str
    version: int
    updated_at: WrittenTime


class ListedEvent(msgspec.Struct, frozen=True):
    id: UUID
    type: str
    version: int
    time: HappenedAt
    data: PartnerData


class EventPageBody(msgspec.Struct, frozen=True, rename="camel"):
    lock_id: int
    aggregate_id: UUID
    events: list[ListedEvent]
    next_after_version: int | None


class EventStatusBody(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    event_id: UUID
    status: Literal["recorded", "pending", "parked"]
    lock_id: int | None = None
    version: int | None = None
    event: EventBody | None = None
    reason: str | None = None
