"""The reader's promises, on a real broker."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventlog import log_reader
from eventlog.kafka import Kafka, stable_ends
from eventlog.log_reader import LogReader
from eventlog.records import Output, Record
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import KafkaUnavailable, PositionLost
from runtime.settings import Settings
from tests.integration.kafka_tools import delete_records, end_of, open_transaction
from tests.integration.roles import install

MANY = 1_300


async def collect(batches: AsyncIterator[list[Record]], found: list[Record]) -> None:
    async for batch in batches:
        found += batch


async def write(kafka: Kafka, settings: Settings, partition: int, *values: bytes) -> None:
    name = f"{settings.topic_prefix}w{partition}"
    writer = await TransactionalWriter.fence(kafka, name)
    outputs = [Output(settings.topics.lock_events, b"7", value) for value in values]
    await writer.write({partition: outputs})
    await writer.discard()


async def abort(kafka: Kafka, settings: Settings, partition: int, value: bytes) -> None:
    name = f"{settings.topic_prefix}aborting"
    topic = settings.topics.lock_events
    async with open_transaction(kafka, name, topic, partition, value) as producer:
        await producer.abort_transaction()


async def test_committed_records_are_read_from_begin_up_to_end_and_no_further(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    topic = settings.topics.lock_events
    many = [b"%d" % n for n in range(MANY)]
    await write(kafka, settings, 0, *many)
    await abort(kafka, settings, 0, b"aborted")
    await write(kafka, settings, 0, b"after")
    await write(kafka, settings, 1, *many)
    ends = await stable_ends(kafka, topic, [0, 1, 2])
    await write(kafka, settings, 0, b"later")
    await write(kafka, settings, 2, b"later")
    begin, end = {0: 7, 1: 0, 2: 0}, {**ends, 1: MANY - 7}
    found: dict[int, list[Record]] = {0: [], 1: [], 2: []}
    async with LogReader.open(kafka) as reader:
        for _ in range(2):  # a second stretch begins anew
            for records in found.values():
                records.clear()
            async for batch in reader.read(topic, begin, end):
                found[batch[0].partition] += batch
    assert [record.value for record in found[0]] == [*many[7:], b"after"]
    # A marker, the aborted record and its marker lie between.
    assert [record.offset for record in found[0]] == [*range(7, MANY), MANY + 3]
    assert [record.value for record in found[1]] == many[:-7]
    assert found[2] == []


async def test_a_stretch_that_ends_in_aborted_records_ends(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    topic = settings.topics.lock_events
    await abort(kafka, settings, 0, b"aborted")
    end = {0: await end_of(kafka, topic, 0)}
    async with LogReader.open(kafka) as reader:
        assert [batch async for batch in reader.read(topic, {0: 0}, end)] == []


async def test_what_an_open_transaction_hides_is_reported_and_not_waited_for_for_ever(
    kafka: Kafka, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "STALL_S", 0.3)
    await install(kafka, settings)
    topic = settings.topics.lock_events
    await write(kafka, settings, 0, b"before")
    name = f"{settings.topic_prefix}open"
    async with (
        open_transaction(kafka, name, topic, 0, b"open") as producer,
        LogReader.open(kafka) as reader,
    ):
        end = {0: await end_of(kafka, topic, 0)}
        found: list[Record] = []
        with pytest.raises(KafkaUnavailable, match="no progress"):
            await collect(reader.read(topic, {0: 0}, end), found)
        assert [record.value for record in found] == [b"before"]
        await producer.abort_transaction()


async def test_a_caller_that_takes_its_time_is_no_stall(
    kafka: Kafka, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes at once when it is back: what is next is committed only then."""
    await install(kafka, settings)
    topic = settings.topics.lock_events
    await write(kafka, settings, 0, b"a")
    monkeypatch.setattr(log_reader, "STALL_S", 1.0)
    monkeypatch.setattr(log_reader, "_POLL_S", 0.001)
    name = f"{settings.topic_prefix}open"
    values = []
    async with (
        open_transaction(kafka, name, topic, 0, b"b") as producer,
        LogReader.open(kafka) as reader,
        asyncio.TaskGroup() as tasks,
    ):
        end = {0: await end_of(kafka, topic, 0)}
        async for batch in reader.read(topic, {0: 0}, end):
            values += [record.value for record in batch]
            if values == [b"a"]:
                await asyncio.sleep(1.1)
                tasks.create_task(producer.commit_transaction())
    assert values == [b"a", b"b"]


async def test_records_that_retention_has_deleted_are_missed(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    topic = settings.topics.lock_events
    await write(kafka, settings, 0, b"deleted", b"left")
    await delete_records(kafka, topic, 0, before=1)
    end = {0: await end_of(kafka, topic, 0)}
    async with LogReader.open(kafka) as reader:
        with pytest.raises(PositionLost, match="retention"):
            await collect(reader.read(topic, {0: 0}, end), [])
        left: list[Record] = []
        await collect(reader.read(topic, {0: 1}, end), left)
    assert [record.value for record in left] == [b"left"]
