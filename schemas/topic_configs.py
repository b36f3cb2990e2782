"""Says how each topic of an installation is made: its partitions, and how long Kafka keeps what."""

import msgspec

from schemas.topics import DAY_MS, MAX_OUTPUT_BYTES, LockTopics

LARGEST = "max.message.bytes"
RETENTION = "retention.ms"

_OUTPUT = {LARGEST: str(MAX_OUTPUT_BYTES)}
_FOREVER = {RETENTION: "-1", "retention.bytes": "-1"}
_REGISTRY = {
    "cleanup.policy": "compact",
    **_FOREVER,
    # Uses of keys come for ever, and every start reads it all: it is compacted within hours.
    "segment.ms": str(3_600_000),
    "min.cleanable.dirty.ratio": "0.1",
}


class Topic(msgspec.Struct, frozen=True):
    name: str
    partitions: int
    config: dict[str, str]


class Retentions(msgspec.Struct, frozen=True):
    """Says how many milliseconds Kafka keeps a record of those topics that are not kept for
    ever."""

    facts_ms: int = 7 * DAY_MS
    parked_ms: int = 30 * DAY_MS
    partner_ms: int = 30 * DAY_MS


AS_SHIPPED = Retentions()


def lock_topics(topics: LockTopics, keep: Retentions = AS_SHIPPED) -> list[Topic]:
    """Returns the four topics that an installation has from its first start."""
    facts, parked = {RETENTION: str(keep.facts_ms)}, {RETENTION: str(keep.parked_ms)}
    return [
        Topic(topics.lock_facts, topics.partitions, facts),
        Topic(topics.lock_events, topics.partitions, {**_FOREVER, **_OUTPUT}),
        Topic(topics.parked_facts, topics.partitions, {**parked, **_OUTPUT}),
        Topic(topics.registry, 1, _REGISTRY),
    ]


def partner_topic(
    topics: LockTopics, partner_id: str, retention_ms: int = AS_SHIPPED.partner_ms
) -> Topic:
    config = {RETENTION: str(retention_ms), **_OUTPUT}
    return Topic(topics.partner_events(partner_id), topics.partitions, config)


def replay_topic(topics: LockTopics, partner_id: str, number: int | str) -> Topic:
    config = {"retention.ms": str(7 * DAY_MS), **_OUTPUT}
    return Topic(topics.partner_replay(partner_id, number), topics.partitions, config)
