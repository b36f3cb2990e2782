"""Decides what the auditor reads, so that a running system shows no violation that is none.

The order in which the ends are taken matters. Partner topics come first: all that they hold was in
``lock-events`` before. ``lock-events`` comes before ``lock-facts.parked``: every fact before that
of the last event has been decided."""

import msgspec

from eventlog.kafka import Kafka, stable_ends
from eventlog.registry import Registry
from fanout.positions import Positions
from operations.shared.offset_ranges import OffsetRanges
from runtime.settings import Settings
from schemas.registry import Partner


class Plan(msgspec.Struct, frozen=True):
    """Says what is read, from where to where. ``positions``: opens those of partners' records."""

    events: OffsetRanges
    parked: OffsetRanges
    facts: OffsetRanges
    partners: dict[str, OffsetRanges]
    entries: dict[str, Partner]
    positions: Positions

    @property
    def size(self) -> int:
        return self.events.size


async def make_plan(kafka: Kafka, settings: Settings, registry: Registry) -> Plan:
    """Takes the beginnings and ends of all that is read.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    topics = settings.topics
    entries = {p.id: p for p in registry.all(Partner) if p.status != "removed"}
    partners = {
        partner_id: await _ranges(kafka, settings, topics.partner_events(partner_id))
        for partner_id in entries
    }
    events = await _ranges(kafka, settings, topics.lock_events)
    parked = await _ranges(kafka, settings, topics.parked_facts)
    facts = await _ranges(kafka, settings, topics.lock_facts)
    positions = Positions(registry.position_key)
    return Plan(events, parked, facts, partners, entries, positions)


async def _ranges(kafka: Kafka, settings: Settings, topic: str) -> OffsetRanges:
    numbers = settings.topics.numbers
    end = await stable_ends(kafka, topic, numbers)
    async with kafka.offsets_client() as client:
        return OffsetRanges(await client.beginnings(topic, numbers), end)
