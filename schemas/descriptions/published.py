"""Lists the schemas that others rely on, by the names that they are exported and compared under."""

import msgspec

from schemas.json_schemas import Json, header_schema, json_schema
from schemas.lock_events import (
    EventHeaders,
    LockCreatedEvent,
    OrganizationSetEvent,
    TempKeyUsedEvent,
)
from schemas.lock_facts import FactHeaders, LockCreated, OrganizationSet, TempKeyUsed
from schemas.parked_facts import ParkedHeaders
from schemas.partner_events import Envelope, PartnerHeaders
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
from schemas.replay_events import ReplayEnded, ReplayEndedHeaders


class PublishedSchema(msgspec.Struct, frozen=True):
    """Names a schema that others rely on. ``written``: this version writes such records, and others
    read them; ``read``: the reverse. An older Lockstream counts among the others."""

    name: str
    type: type[msgspec.Struct]
    written: bool = True
    read: bool = True
    is_headers: bool = False

    def json_schema(self) -> Json:
        return header_schema(self.type) if self.is_headers else json_schema(self.type)


PUBLISHED: tuple[PublishedSchema, ...] = (
    PublishedSchema("lock-facts.LockCreated", LockCreated),
    PublishedSchema("lock-facts.OrganizationSet", OrganizationSet),
    PublishedSchema("lock-facts.TempKeyUsed", TempKeyUsed),
    PublishedSchema("lock-facts.headers", FactHeaders, is_headers=True),
    PublishedSchema("lock-events.LockCreated", LockCreatedEvent),
    PublishedSchema("lock-events.OrganizationSet", OrganizationSetEvent),
    PublishedSchema("lock-events.TempKeyUsed", TempKeyUsedEvent),
    PublishedSchema("lock-events.headers", EventHeaders, is_headers=True),
    # The value of a parked record is whatever the fact's was.
    PublishedSchema("lock-facts.parked.headers", ParkedHeaders, is_headers=True),
    PublishedSchema("partner.lock-events", Envelope, read=False),
    PublishedSchema("partner.lock-events.headers", PartnerHeaders, read=False, is_headers=True),
    PublishedSchema("partner.replay", ReplayEnded, read=False),
    PublishedSchema("partner.replay.headers", ReplayEndedHeaders, read=False, is_headers=True),
    PublishedSchema("registry.organization", Organization),
    PublishedSchema("registry.apiKey", ApiKey),
    PublishedSchema("registry.apiKeyUse", ApiKeyUse),
    PublishedSchema("registry.partner", Partner),
    PublishedSchema("registry.replay", Replay),
    PublishedSchema("registry.parkedDiscard", ParkedDiscard),
    PublishedSchema("registry.parkedRepair", ParkedRepair),
    PublishedSchema("registry.lanes", LaneCount),
    PublishedSchema("registry.positionKey", PositionKey),
)
