"""The watch asks every second whether Kafka answers and lets us do our work, for readiness."""

import asyncio
from collections.abc import Collection

from eventlog.clients.offsets_client import OffsetsClient
from eventlog.kafka import Kafka
from eventlog.kafka_errors import kafka_errors
from runtime.errors import KafkaRefused, KafkaUnavailable
from runtime.readiness import Readiness
from runtime.waiting import first_of, is_cancelled

EVERY_S = 1.0
ANSWER_S = 3.0
OBSTACLE = "kafka"
REFUSAL = "kafka refuses"


async def watch_kafka(
    kafka: Kafka, topics: Collection[str], readiness: Readiness, stop: asyncio.Event
) -> None:
    """Runs until ``stop`` is set. A refusal is an obstacle of its own: it does not pass."""
    async with kafka.offsets_client() as client:
        while not stop.is_set() and not is_cancelled():
            try:
                async with asyncio.timeout(ANSWER_S):
                    await _ask(client, topics)
            except KafkaRefused as error:
                readiness.block(REFUSAL, str(error))
            except (KafkaUnavailable, TimeoutError) as error:
                readiness.block(OBSTACLE, f"Kafka does not answer: {error or 'no answer in time'}")
            else:
                readiness.clear(OBSTACLE)
                readiness.clear(REFUSAL)
            await first_of(stop, timeout_s=EVERY_S)


async def _ask(client: OffsetsClient, topics: Collection[str]) -> None:
    try:
        with kafka_errors("asking for the topics"):
            await client.connections.check_topics(topics)
        for topic in topics:
            await client.high_watermarks(topic, [0])
    except KafkaUnavailable:
        await client.connections.look_into_refusal()
        raise
