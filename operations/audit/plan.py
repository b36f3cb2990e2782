"""What the auditor reads: where each stretch begins and ends, taken so that a running system can't
make it see a violation that is none.

The order matters. Partner topics end first: all that they hold was in ``lock-events`` before.
``lock-events`` ends before ``lock-facts.parked``: every fact before its last event's was decided.
"""

import msgspec

from eventlog.kafka import Kafka, stable_ends
from eventlog.registry import Registry
from runtime.settings import Settings
from schemas.registry import Partner

Offsets = dict[int, int]


class Stretch(msgspec.Struct, frozen=True):
    begin: Offsets
    end: Offsets

    @property
    def size(self) -> int:
        return sum(max(0, self.end[p] - self.begin[p]) for p in self.begin)


class Plan(msgspec.Struct, frozen=True):
    events: Stretch
    parked: Stretch
    facts: Stretch
    partners: dict[str, Stretch]
    entries: dict[str, Partner]

    @property
    def size(self) -> int:
        return self.events.size


async def make_plan(kafka: Kafka, settings: Settings, registry: Registry) -> Plan:
    """
    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    topics = settings.topics
    entries = {p.id: p for p in registry.all(Partner) if p.status != "removed"}
    partners = {
        partner_id: await _stretch(kafka, settings, topics.partner_events(partner_id))
        for partner_id in entries
    }
    events = await _stretch(kafka, settings, topics.lock_events)
    parked = await _stretch(kafka, settings, topics.parked_facts)
    facts = await _stretch(kafka, settings, topics.lock_facts)
    return Plan(events, parked, facts, partners, entries)


async def _stretch(kafka: Kafka, settings: Settings, topic: str) -> Stretch:
    numbers = list(range(settings.partitions))
    end = await stable_ends(kafka, topic, numbers)
    async with kafka.offsets_client() as client:
        return Stretch(await client.beginnings(topic, numbers), end)
