"""Whether Kafka answers, and lets us do our work: asked every other second, said in readiness."""

import asyncio
from collections.abc import Collection

from eventlog.kafka import Kafka, connected, high_watermarks
from eventlog.kafka_errors import kafka_errors
from eventlog.refusals import check_topics, look_into_refusal
from runtime.errors import KafkaRefused, KafkaUnavailable
from runtime.readiness import Readiness
from runtime.waiting import first_of

EVERY_S = 1.0
ANSWER_S = 3.0
OBSTACLE = "kafka"
REFUSAL = "kafka refuses"


async def watch_kafka(
    kafka: Kafka, topics: Collection[str], readiness: Readiness, stop: asyncio.Event
) -> None:
    """Runs until ``stop`` is set. A refusal is an obstacle of its own: it does not pass."""
    async with connected(kafka.offsets_client()) as client:
        while not stop.is_set():
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


async def _ask(client: object, topics: Collection[str]) -> None:
    try:
        with kafka_errors("asking for the topics"):
            await check_topics(client, topics)
        for topic in topics:
            await high_watermarks(client, topic, [0])
    except KafkaUnavailable:
        await look_into_refusal(client)
        raise
