"""Decides what the auditor reads, so that a running system shows no violation that is none.

The order in which the ends are taken matters. Partner topics come first: all that they hold was in
``lock-events`` before. ``lock-events`` comes before ``lock-facts.parked``: every fact before that
of the last event has been decided. What partners are entitled to is read last: an entry says of
every event, by its place, what held for it, but may not know of a change that a topic shows."""

import msgspec

from eventlog.kafka import Kafka, stable_ends
from eventlog.registry import Registry, read_registry
from eventlog.topic_setup import list_topics
from fanout.positions import Positions
from operations.shared.offset_ranges import OffsetRanges
from runtime.settings import Settings
from schemas.registry import Partner, Replay


class Deliveries(msgspec.Struct, frozen=True):
    """Describes a topic that a fan-out writes. ``entry``: what it should hold, by ``begin`` and
    types; ``replay``: None if it is a partner's own."""

    topic: str
    ranges: OffsetRanges
    entry: Partner
    replay: Replay | None = None


class Plan(msgspec.Struct, frozen=True):
    """Says what is read, from where to where. ``positions``: opens those of partners' records."""

    events: OffsetRanges
    parked: OffsetRanges
    facts: OffsetRanges
    deliveries: tuple[Deliveries, ...]
    positions: Positions

    @property
    def size(self) -> int:
        return self.events.size


async def make_plan(kafka: Kafka, settings: Settings) -> Plan:
    """Takes the beginnings and ends of all that is read.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    topics = settings.topics
    before = await read_registry(kafka, topics.registry)
    partners = {p.id: p for p in before.all(Partner) if p.status != "removed"}
    existing = await list_topics(kafka)
    replays = [
        replay
        for replay in before.all(Replay)
        if replay.partner_id in partners
        and topics.partner_replay(replay.partner_id, replay.number) in existing
    ]
    of_partners = {
        partner_id: await _ranges(kafka, settings, topics.partner_events(partner_id))
        for partner_id in partners
    }
    of_replays = [
        await _ranges(kafka, settings, topics.partner_replay(one.partner_id, one.number))
        for one in replays
    ]
    events = await _ranges(kafka, settings, topics.lock_events)
    parked = await _ranges(kafka, settings, topics.parked_facts)
    facts = await _ranges(kafka, settings, topics.lock_facts)
    registry = await read_registry(kafka, topics.registry)
    deliveries = [
        Deliveries(topics.partner_events(name), ranges, _now(registry, before, name))
        for name, ranges in of_partners.items()
    ]
    # Replays' entries are those of before: an end marker stands before its entry says so.
    for one, ranges in zip(replays, of_replays, strict=True):
        topic = topics.partner_replay(one.partner_id, one.number)
        deliveries.append(Deliveries(topic, ranges, one.as_partner, one))
    return Plan(events, parked, facts, tuple(deliveries), Positions(registry.position_key))


def _now(registry: Registry, before: Registry, partner_id: str) -> Partner:
    entry = registry.partner(partner_id) or before.partner(partner_id)
    assert entry is not None
    return entry


async def _ranges(kafka: Kafka, settings: Settings, topic: str) -> OffsetRanges:
    numbers = settings.topics.numbers
    end = await stable_ends(kafka, topic, numbers)
    async with kafka.offsets_client() as client:
        return OffsetRanges(await client.beginnings(topic, numbers), end)
