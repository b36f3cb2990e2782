"""Makes the topics of an installation, and checks them at every start."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import msgspec

from eventlog.clients.admin import Admin
from eventlog.clients.client import REQUEST_TIMEOUT_S
from eventlog.kafka import Kafka
from eventlog.kafka_errors import errors, ours
from runtime.errors import KafkaUnavailable, PartitionsChanged
from runtime.settings import Settings
from schemas.registry import Partner
from schemas.topic_configs import LARGEST, Topic, lock_topics, partner_topic

log = logging.getLogger(__name__)

_NOT_YET = (errors.LeaderNotAvailableError, errors.UnknownTopicOrPartitionError)


async def ensure_installation(kafka: Kafka, settings: Settings) -> None:
    """Creates those of the four lock topics that are missing, and checks their partition counts.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        KafkaRefused: it does not let us create or see them.
        PartitionsChanged: a topic has another partition count than the settings say.
    """
    await ensure_topics(kafka, settings, lock_topics(settings.topics, settings.retentions))


async def ensure_topics(kafka: Kafka, settings: Settings, topics: Sequence[Topic]) -> None:
    """Does for the topics named what ``ensure_installation`` does."""
    async with kafka.admin() as admin:
        await _create_missing(admin, settings, topics)
        await _check_partitions(admin, topics)
        await _make_room(
            admin, {t.name: int(t.config[LARGEST]) for t in topics if LARGEST in t.config}
        )


async def ensure_partner_topic(kafka: Kafka, settings: Settings, partner: Partner) -> None:
    """Does the same for a partner's topic, which is kept as its entry says, or else the
    settings."""
    keep_ms = partner.retention_ms or settings.retentions.partner_ms
    await ensure_topics(kafka, settings, [partner_topic(settings.topics, partner.id, keep_ms)])


async def list_topics(kafka: Kafka) -> set[str]:
    """Returns the names of all topics of the cluster that we may see.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with kafka.admin() as admin:
        return await admin.topics()


async def topic_exists(kafka: Kafka, topic: str) -> bool:
    """Returns whether the cluster has the topic, and lets us see it.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    return topic in await list_topics(kafka)


async def delete_topic(kafka: Kafka, topic: str) -> None:
    """Deletes a topic; one that is gone already is no error.

    Raises:
        KafkaUnavailable: the broker can't be reached.
        KafkaRefused: it does not let us.
    """
    async with kafka.admin() as admin:
        await admin.delete_topic(topic)


async def _create_missing(admin: Admin, settings: Settings, topics: Sequence[Topic]) -> None:
    existing = await admin.topics()
    missing = [topic for topic in topics if topic.name not in existing]
    if not missing:
        return
    durability = {"min.insync.replicas": str(settings.min_insync_replicas)}
    if settings.replication_factor > 1:
        durability["unclean.leader.election.enable"] = "false"
    await admin.create_topics(
        [
            msgspec.structs.replace(topic, config={**durability, **topic.config})
            for topic in missing
        ],
        settings.replication_factor,
    )


async def _check_partitions(admin: Admin, topics: Sequence[Topic]) -> None:
    """Asks again for up to 10 s: a topic made a moment ago may not be known everywhere yet."""
    expected = {topic.name: topic.partitions for topic in topics}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REQUEST_TIMEOUT_S
    while True:
        described = await admin.describe_topics(list(expected))
        for topic in described:
            if topic.error is not None and not isinstance(topic.error, _NOT_YET):
                raise ours(topic.error, f"describing {topic.name}")
        there = [topic for topic in described if topic.error is None]
        for topic in there:
            if topic.partitions != expected[topic.name]:
                raise PartitionsChanged(
                    f"topic {topic.name} has {topic.partitions} partitions, the settings say "
                    f"{expected[topic.name]}: another count would split a lock's history; set "
                    "LOCKSTREAM_PARTITIONS back"
                )
        if len(there) == len(expected) and all(topic.led for topic in there):
            return
        if loop.time() > deadline:
            raise KafkaUnavailable(f"topics without a leader among {sorted(expected)}")
        await asyncio.sleep(0.05)


async def _make_room(admin: Admin, wanted: Mapping[str, int]) -> None:
    """Raises the limit on one batch of records of these topics where it is lower than ``wanted``,
    and touches no other setting. A refusal is logged: whoever then writes a larger record stops.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    if not wanted:
        return
    limits = await admin.topic_setting(wanted, LARGEST)
    low = {name: wanted[name] for name, limit in limits.items() if int(limit) < wanted[name]}
    if not low:
        return
    outcomes = await admin.alter_topic_setting(LARGEST, {name: str(n) for name, n in low.items()})
    for name, error in outcomes.items():
        if error is not None:
            log.warning(
                "%s: %s may not be raised to %s (%r); set it yourself",
                *(name, LARGEST, low[name], error),
            )
        else:
            log.info("%s: %s is now %s", name, LARGEST, low[name])
