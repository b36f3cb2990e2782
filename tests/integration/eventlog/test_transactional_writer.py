"""The writer's promises, on a real broker, by both versions of Kafka's transaction protocol."""

from collections.abc import Awaitable, Callable

import pytest
from aiokafka.errors import KafkaError

from eventlog.kafka import Kafka, stable_ends
from eventlog.records import Output
from eventlog.transactional_writer import TransactionalWriter
from eventlog.transactions import AiokafkaTransactions, TransactionsV2, transactions_of
from runtime.errors import OutputRefused, OutputUncertain, StreamViolation
from runtime.settings import Settings
from schemas.topics import MAX_OUTPUT_BYTES
from tests.integration.kafka_tools import end_of, leave_open, open_transaction, read_all
from tests.integration.roles import install

Fence = Callable[[Kafka, str], Awaitable[TransactionalWriter]]


async def fence_by_aiokafka(kafka: Kafka, name: str) -> TransactionalWriter:
    """As on a cluster that does not speak version 2."""
    producer = kafka.transactional_producer(name)
    await producer.start("connecting")
    return TransactionalWriter(producer, AiokafkaTransactions(producer))


@pytest.fixture(
    params=[TransactionalWriter.fence, fence_by_aiokafka], ids=["version 2", "aiokafka"]
)
def fence(request: pytest.FixtureRequest) -> Fence:
    made: Fence = request.param
    return made


def outputs(topic: str, *values: bytes) -> dict[int, list[Output]]:
    """For partition 0."""
    return {0: [Output(topic, b"7", value) for value in values]}


async def test_a_transaction_of_several_partitions_is_read_whole_and_its_offsets_are_told(
    kafka: Kafka, settings: Settings, fence: Fence
) -> None:
    await install(kafka, settings)
    events, parked = settings.topics.lock_events, settings.topics.parked_facts
    writer = await fence(kafka, f"{settings.topic_prefix}w")
    mixed = [Output(events, b"1", b"a"), Output(parked, b"1", b"b"), Output(events, b"1", b"c")]
    offsets = await writer.write({1: mixed, 0: [Output(events, b"7", b"e")]})
    assert offsets == {1: [0, 0, 1], 0: [0]}
    assert await writer.write({1: [Output(events, b"1", b"d")]}) == {1: [3]}
    read = await read_all(kafka, events, settings.partitions)
    assert [(r.partition, r.value) for r in read] == [(0, b"e"), (1, b"a"), (1, b"c"), (1, b"d")]
    await writer.discard()


async def test_a_successor_fences_a_writer_that_is_still_alive(
    kafka: Kafka, settings: Settings, fence: Fence
) -> None:
    await install(kafka, settings)
    events = settings.topics.lock_events
    old = await fence(kafka, f"{settings.topic_prefix}w")
    await old.write(outputs(events, b"before"))
    new = await fence(kafka, f"{settings.topic_prefix}w")
    with pytest.raises(OutputUncertain):
        await old.write(outputs(events, b"zombie"))
    await new.write(outputs(events, b"after"))
    values = [r.value for r in await read_all(kafka, events, settings.partitions)]
    assert values == [b"before", b"after"]
    await old.discard()
    await new.discard()


async def test_a_transaction_left_open_by_a_dead_writer_is_aborted_by_its_successor(
    kafka: Kafka, settings: Settings, fence: Fence
) -> None:
    await install(kafka, settings)
    events = settings.topics.lock_events
    name = f"{settings.topic_prefix}w"
    async with open_transaction(kafka, name, events, 0, b"never committed"):
        new = await fence(kafka, name)
        await new.write(outputs(events, b"after"))
        assert [r.value for r in await read_all(kafka, events, settings.partitions)] == [b"after"]
        await new.discard()


async def test_a_refused_record_takes_its_whole_transaction_with_it(
    kafka: Kafka, settings: Settings, fence: Fence
) -> None:
    """aiokafka would commit without it, if nobody awaited its send."""
    await install(kafka, settings)
    events = settings.topics.lock_events
    writer = await fence(kafka, f"{settings.topic_prefix}w")
    too_large = b"x" * (MAX_OUTPUT_BYTES + 100_000)
    both = {**outputs(events, b"small", too_large), 1: [Output(events, b"7", b"other")]}
    with pytest.raises(OutputRefused) as refused:
        await writer.write(both)
    # Whoever wrote to the other partition may go on.
    assert list(refused.value.why) == [0]
    await writer.discard()
    successor = await fence(kafka, f"{settings.topic_prefix}w")
    assert await read_all(kafka, events, settings.partitions) == []
    await successor.discard()


async def test_what_is_held_hides_what_follows_until_all_of_it_stands(
    kafka: Kafka, settings: Settings, fence: Fence
) -> None:
    await install(kafka, settings)
    events = settings.topics.lock_events
    writer = await fence(kafka, f"{settings.topic_prefix}w")

    async def then() -> dict[int, list[Output]]:
        assert await end_of(kafka, events, 0) == 1
        assert await stable_ends(kafka, events, [0]) == {0: 0}
        other = await fence(kafka, f"{settings.topic_prefix}other")
        await other.write(outputs(events, b"of another"))
        await other.discard()
        assert await stable_ends(kafka, events, [0]) == {0: 0}
        return outputs(events, b"second")

    try:
        await writer.write_held(outputs(events, b"first"), then)
        values = [r.value for r in await read_all(kafka, events, settings.partitions)]
        assert values == [b"first", b"of another", b"second"]
    finally:
        await writer.discard()


async def test_of_what_is_held_nothing_is_written_if_what_follows_fails(
    kafka: Kafka, settings: Settings, fence: Fence
) -> None:
    await install(kafka, settings)
    events, name = settings.topics.lock_events, f"{settings.topic_prefix}w"

    async def fail() -> dict[int, list[Output]]:
        raise StreamViolation("no")

    async def be_fenced() -> dict[int, list[Output]]:
        await (await fence(kafka, name)).discard()
        return outputs(events, b"second")

    for then, raised in ((fail, StreamViolation), (be_fenced, OutputUncertain)):
        writer = await fence(kafka, name)
        with pytest.raises(raised):
            await writer.write_held(outputs(events, b"first"), then)
        await writer.discard()
    successor = await fence(kafka, name)
    await successor.write(outputs(events, b"after"))
    values = [r.value for r in await read_all(kafka, events, settings.partitions)]
    assert values == [b"after"]
    await successor.discard()


async def test_a_batch_larger_than_one_request_is_still_one_transaction(
    kafka: Kafka, settings: Settings, fence: Fence
) -> None:
    await install(kafka, settings)
    events = settings.topics.lock_events
    writer = await fence(kafka, f"{settings.topic_prefix}w")
    values = [b"%d" % i + b"x" * 1000 for i in range(3000)]
    offsets = await writer.write(outputs(events, *values))
    assert offsets == {0: list(range(3000))}
    assert [r.value for r in await read_all(kafka, events, settings.partitions)] == values
    assert await end_of(kafka, events, 0) == 3001
    await writer.discard()


async def test_a_cluster_that_speaks_version_2_is_spoken_to_in_it(
    kafka: Kafka, settings: Settings
) -> None:
    """Every new cluster of Kafka 4 does: if this one does not, the question is asked wrongly."""
    async with kafka.transactional_producer(f"{settings.topic_prefix}w") as producer:
        assert isinstance(await transactions_of(producer), TransactionsV2)


async def test_whoever_fences_by_another_version_of_the_protocol_is_obeyed(
    kafka: Kafka, settings: Settings
) -> None:
    """As while a cluster is upgraded, or the services are."""
    await install(kafka, settings)
    events, name = settings.topics.lock_events, f"{settings.topic_prefix}w"
    first = await fence_by_aiokafka(kafka, name)
    await first.write(outputs(events, b"a"))
    second = await TransactionalWriter.fence(kafka, name)
    with pytest.raises(OutputUncertain):
        await first.write(outputs(events, b"zombie"))
    await second.write(outputs(events, b"b"))
    third = await fence_by_aiokafka(kafka, name)
    with pytest.raises(OutputUncertain):
        await second.write(outputs(events, b"zombie"))
    await third.write(outputs(events, b"c"))
    values = [r.value for r in await read_all(kafka, events, settings.partitions)]
    assert values == [b"a", b"b", b"c"]
    for writer in (first, second, third):
        await writer.discard()


async def test_a_commit_that_comes_after_its_transaction_was_aborted_is_refused(
    kafka: Kafka, settings: Settings, fence: Fence
) -> None:
    """The writer was paused between the last record and its commit, and a successor has come."""
    await install(kafka, settings)
    events, name = settings.topics.lock_events, f"{settings.topic_prefix}w"
    paused = await fence(kafka, name)
    await paused.write(outputs(events, b"before"))
    await leave_open(paused, 0, [Output(events, b"7", b"lost")])
    successor = await fence(kafka, name)
    with pytest.raises((KafkaError, AssertionError)):
        await paused._commit()
    await successor.write(outputs(events, b"after"))
    values = [r.value for r in await read_all(kafka, events, settings.partitions)]
    assert values == [b"before", b"after"]
    await paused.discard()
    await successor.discard()
