"""What the publisher says of a fact, when the broker's answer is late, lost or bad."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.errors import OutOfOrderSequenceNumber

from eventlog.clients.producer import Producer, Written
from eventlog.kafka import Kafka
from eventlog.publisher import FactPublisher
from eventlog.records import Output
from runtime.errors import KafkaUnavailable, OutcomeUnknown
from runtime.settings import Settings
from runtime.tracing import NoTracing
from tests.examples_of import temp_key_used
from tests.integration.kafka_tools import read_all
from tests.integration.roles import install

TIMEOUT_S = 1.0


class BadLine(Producer):
    """``loses`` the answers, or ``takes_nothing``, or lets the next answer be an ``error``."""

    loses = False
    takes_nothing = False
    error: Exception | None = None

    async def send(self, output: Output, partition: int) -> "asyncio.Future[Written]":
        if self.takes_nothing:
            await asyncio.Event().wait()
        answer = await super().send(output, partition)
        if self.loses:
            await answer
            return asyncio.get_running_loop().create_future()
        if self.error is not None:
            await answer
            answer = asyncio.get_running_loop().create_future()
            answer.set_exception(self.error)
        return answer


class BadlyConnected(Kafka):
    """Remembers the producers that it has made."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "test")
        self.made: list[BadLine] = []

    def idempotent_producer(self) -> Producer:
        producer = BadLine(super().idempotent_producer()._client)
        self.made.append(producer)
        return producer


@pytest.fixture
async def kafka(settings: Settings) -> BadlyConnected:
    kafka = BadlyConnected(settings)
    await install(kafka, settings)
    kafka.made.clear()
    return kafka


@pytest.fixture
async def publisher(kafka: BadlyConnected, settings: Settings) -> AsyncIterator[FactPublisher]:
    topic = settings.topics.lock_facts
    publisher = FactPublisher(kafka, topic, settings.partitions, TIMEOUT_S, NoTracing())
    await publisher.start()
    yield publisher
    await publisher.close()


async def recorded(kafka: Kafka, settings: Settings) -> int:
    return len(await read_all(kafka, settings.topics.lock_facts, settings.partitions))


async def test_a_fact_that_was_sent_and_not_confirmed_may_be_recorded(
    kafka: BadlyConnected, settings: Settings, publisher: FactPublisher
) -> None:
    kafka.made[0].loses = True
    with pytest.raises(OutcomeUnknown):
        await publisher.publish(temp_key_used())
    assert await recorded(kafka, settings) == 1


async def test_a_fact_that_was_not_sent_is_not_recorded(
    kafka: BadlyConnected, settings: Settings, publisher: FactPublisher
) -> None:
    kafka.made[0].takes_nothing = True
    async with asyncio.timeout(TIMEOUT_S * 10):
        with pytest.raises(KafkaUnavailable, match="did not take"):
            await publisher.publish(temp_key_used())
    assert await recorded(kafka, settings) == 0


async def test_a_producer_that_failed_is_replaced(
    kafka: BadlyConnected, settings: Settings, publisher: FactPublisher
) -> None:
    kafka.made[0].error = OutOfOrderSequenceNumber()
    with pytest.raises(OutcomeUnknown):
        await publisher.publish(temp_key_used())
    await publisher.publish(temp_key_used())
    assert len(kafka.made) == 2
    assert await recorded(kafka, settings) == 2
