"""Says how each topic of an installation is made: its partitions, and how long Kafka keeps what."""

import msgspec

from schemas.topics import DAY_MS, MAX_OUTPUT_BYTES, LockTopics

LARGEST = "max.message.bytes"

_OUTPUT = {LARGEST: str(MAX_OUTPUT_BYTES)}
_FOREVER = {"retention.ms": "-1", "retention.bytes": "-1"}
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


def lock_topics(topics: LockTopics) -> list[Topic]:
    """Returns the four topics that an installation has from its first start."""
    week, month = {"retention.ms": str(7 * DAY_MS)}, {"retention.ms": str(30 * DAY_MS)}
    return [
        Topic(topics.lock_facts, topics.partitions, week),
        Topic(topics.lock_events, topics.partitions, {**_FOREVER, **_OUTPUT}),
        Topic(topics.parked_facts, topics.partitions, {**month, **_OUTPUT}),
        Topic(topics.registry, 1, _REGISTRY),
    ]


def partner_topic(topics: LockTopics, partner_id: str) -> Topic:
    config = {"retention.ms": str(30 * DAY_MS), **_OUTPUT}
    return Topic(topics.partner_events(partner_id), topics.partitions, config)


def replay_topic(topics: LockTopics, partner_id: str, number: int | str) -> Topic:
    config = {"retention.ms": str(7 * DAY_MS), **_OUTPUT}
    return Topic(topics.partner_replay(partner_id, number), topics.partitions, config)
