"""The writer's promises, on a real broker."""

import asyncio

import pytest
from aiokafka.producer import sender as aiokafka_sender

from lockstream.eventlog.kafka import CONCURRENT_TRANSACTIONS_BACKOFF_S, Kafka, Output
from lockstream.eventlog.transactional_writer import TransactionalWriter
from lockstream.runtime.errors import OutputUncertain
from lockstream.runtime.settings import Settings
from tests.integration.kafka_tools import end_of, read_all
from tests.integration.roles import install


def outputs(topic: str, *values: bytes) -> list[Output]:
    return [Output(topic, b"7", value) for value in values]


async def test_a_transaction_is_read_whole_and_its_offsets_are_told(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    events, parked = settings.topics.lock_events, settings.topics.parked_facts
    writer = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w", 1)
    mixed = [Output(events, b"1", b"a"), Output(parked, b"1", b"b"), Output(events, b"1", b"c")]
    offsets = await writer.write(mixed)
    assert offsets == [0, 0, 1]
    assert await writer.write(outputs(events, b"d")) == [3]
    assert [r.value for r in await read_all(kafka, events, settings.partitions)] == [
        b"a",
        b"c",
        b"d",
    ]
    await writer.discard()


async def test_a_successor_fences_a_writer_that_is_still_alive(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    events = settings.topics.lock_events
    old = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w", 0)
    await old.write(outputs(events, b"before"))
    new = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w", 0)
    with pytest.raises(OutputUncertain):
        await old.write(outputs(events, b"zombie"))
    await new.write(outputs(events, b"after"))
    values = [r.value for r in await read_all(kafka, events, settings.partitions)]
    assert values == [b"before", b"after"]
    await old.discard()
    await new.discard()


async def test_a_transaction_left_open_by_a_dead_writer_is_aborted_by_its_successor(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    events = settings.topics.lock_events
    dead = kafka.transactional_producer(f"{settings.topic_prefix}w")
    await dead.start()
    await dead.begin_transaction()
    await dead.send_and_wait(events, b"never committed", key=b"7", partition=0)
    new = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w", 0)
    await new.write(outputs(events, b"after"))
    assert [r.value for r in await read_all(kafka, events, settings.partitions)] == [b"after"]
    await new.discard()
    await dead.stop()


async def test_a_refused_record_takes_its_whole_transaction_with_it(
    kafka: Kafka, settings: Settings
) -> None:
    """aiokafka would commit without it, if nobody awaited its send."""
    await install(kafka, settings)
    events = settings.topics.lock_events
    writer = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w", 0)
    too_large = b"x" * 1_200_000
    with pytest.raises(OutputUncertain):
        await writer.write(outputs(events, b"small", too_large))
    await writer.discard()
    successor = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w", 0)
    assert await read_all(kafka, events, settings.partitions) == []
    await successor.discard()


async def test_a_batch_larger_than_one_request_is_still_one_transaction(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    events = settings.topics.lock_events
    writer = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w", 0)
    values = [b"%d" % i + b"x" * 1000 for i in range(3000)]
    offsets = await writer.write(outputs(events, *values))
    assert offsets == list(range(3000))
    assert [r.value for r in await read_all(kafka, events, settings.partitions)] == values
    assert await end_of(kafka, events, 0) == 3001
    await writer.discard()


async def test_transactions_follow_each_other_without_the_20_ms_pause(
    kafka: Kafka, settings: Settings
) -> None:
    """The pause is a constant inside aiokafka: it must still exist, and ours must be in force."""
    await install(kafka, settings)
    assert isinstance(aiokafka_sender.BACKOFF_OVERRIDE, float)
    writer = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w", 0)
    assert aiokafka_sender.BACKOFF_OVERRIDE == CONCURRENT_TRANSACTIONS_BACKOFF_S
    events = settings.topics.lock_events
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(60):
        begun = loop.time()
        await writer.write(outputs(events, b"x"))
        times.append(loop.time() - begun)
    assert sorted(times)[10] < 0.020
    await writer.discard()
