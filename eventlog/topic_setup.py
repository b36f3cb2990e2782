"""The topics of one installation: made when it is first set up, checked at every start."""

import asyncio
from typing import Any

from aiokafka.admin import NewTopic
from aiokafka.errors import (
    LeaderNotAvailableError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)

from eventlog.kafka import REQUEST_TIMEOUT_S, Kafka, connected
from eventlog.kafka_errors import error_of, kafka_errors, ours
from eventlog.topic_room import make_room
from runtime.errors import KafkaUnavailable, PartitionsChanged
from runtime.settings import Settings
from runtime.waiting import within
from schemas.topic_configs import LARGEST, Topic, lock_topics

_NOT_YET = (LeaderNotAvailableError, UnknownTopicOrPartitionError)


async def ensure_installation(kafka: Kafka, settings: Settings) -> None:
    """Creates what is missing of the four lock topics and checks their partition counts.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        KafkaRefused: it does not let us create or see them.
        PartitionsChanged: a topic has another partition count than the settings say.
    """
    await ensure_topics(kafka, settings, lock_topics(settings.topics))


async def ensure_topics(kafka: Kafka, settings: Settings, topics: list[Topic]) -> None:
    """As ``ensure_installation``, for the topics named."""
    async with connected(kafka.admin()) as admin:
        await _create_missing(admin, settings, topics)
        await _check_partitions(admin, topics)
        await make_room(
            admin, {t.name: int(t.config[LARGEST]) for t in topics if LARGEST in t.config}
        )


async def list_topics(kafka: Kafka) -> set[str]:
    """
    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with connected(kafka.admin()) as admin:
        with kafka_errors("listing the topics"):
            return set(await within(admin.list_topics(), REQUEST_TIMEOUT_S))


async def topic_exists(kafka: Kafka, topic: str) -> bool:
    """
    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    return topic in await list_topics(kafka)


async def delete_topic(kafka: Kafka, topic: str) -> None:
    """
    Raises:
        KafkaUnavailable: the broker can't be reached.
        KafkaRefused: it does not let us.
    """
    async with connected(kafka.admin()) as admin:
        with kafka_errors(f"deleting {topic}"):
            answer = await within(admin.delete_topics([topic]), REQUEST_TIMEOUT_S)
            for _, code in answer.topic_error_codes:
                # One that is gone already is what was wanted.
                if code and not isinstance(error := error_of(code), UnknownTopicOrPartitionError):
                    raise error


async def _create_missing(admin: Any, settings: Settings, topics: list[Topic]) -> None:
    with kafka_errors("listing the topics"):
        existing = set(await within(admin.list_topics(), REQUEST_TIMEOUT_S))
    missing = [topic for topic in topics if topic.name not in existing]
    if not missing:
        return
    durability = {"min.insync.replicas": str(settings.min_insync_replicas)}
    if settings.replication_factor > 1:
        durability["unclean.leader.election.enable"] = "false"
    wanted = [
        NewTopic(
            topic.name,
            topic.partitions,
            settings.replication_factor,
            topic_configs={**durability, **topic.config},
        )
        for topic in missing
    ]
    with kafka_errors("creating the topics"):
        answer = await within(admin.create_topics(wanted), REQUEST_TIMEOUT_S)
    for name, code, *text in answer.topic_errors:
        error = error_of(code, text[0] if text else None)
        if code and not isinstance(error, TopicAlreadyExistsError):
            raise ours(error, f"creating {name}")


async def _check_partitions(admin: Any, topics: list[Topic]) -> None:
    """A topic made a moment ago may not be known everywhere yet: asks again for up to 10 s."""
    expected = {topic.name: topic.partitions for topic in topics}
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REQUEST_TIMEOUT_S
    while True:
        with kafka_errors("describing the topics"):
            described = await within(admin.describe_topics(list(expected)), REQUEST_TIMEOUT_S)
        for found in described:
            error = error_of(found["error_code"])
            if found["error_code"] and not isinstance(error, _NOT_YET):
                raise ours(error, f"describing {found['topic']}")
        counts = {t["topic"]: len(t["partitions"]) for t in described if not t["error_code"]}
        led = all(
            partition["leader"] >= 0
            for t in described
            if not t["error_code"]
            for partition in t["partitions"]
        )
        for name, count in counts.items():
            if count != expected[name]:
                raise PartitionsChanged(
                    f"topic {name} has {count} partitions, the settings say {expected[name]}: "
                    "another count would split a lock's history; set LOCKSTREAM_PARTITIONS back"
                )
        if led and len(counts) == len(expected):
            return
        if loop.time() > deadline:
            raise KafkaUnavailable(f"topics without a leader among {sorted(expected)}")
        await asyncio.sleep(0.05)
