"""Whether Kafka answers: asked every other second, said in readiness."""

import asyncio

from lockstream.eventlog.kafka import Kafka, connected, high_watermarks
from lockstream.runtime.errors import KafkaUnavailable
from lockstream.runtime.process import first_of
from lockstream.runtime.readiness import Readiness

EVERY_S = 1.0
ANSWER_S = 3.0
OBSTACLE = "kafka"


async def watch_kafka(kafka: Kafka, topic: str, readiness: Readiness, stop: asyncio.Event) -> None:
    """Runs until ``stop`` is set."""
    async with connected(kafka.offsets_client()) as client:
        while not stop.is_set():
            try:
                async with asyncio.timeout(ANSWER_S):
                    await high_watermarks(client, topic, [0])
            except (KafkaUnavailable, TimeoutError) as error:
                readiness.block(OBSTACLE, f"Kafka does not answer: {error or 'no answer in time'}")
            else:
                readiness.clear(OBSTACLE)
            await first_of(stop, timeout_s=EVERY_S)
