"""Single records of many stretches, on a real broker."""

import asyncio

import pytest

from eventlog import single_records
from eventlog.kafka import Kafka
from eventlog.records import Output, TopicPartition
from eventlog.single_records import SingleRecords
from eventlog.topic_setup import ensure_topics
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import KafkaUnavailable
from runtime.settings import Settings
from schemas.topic_configs import Topic
from tests.integration.kafka_tools import (
    delete_records,
    end_of,
    leave_aborted,
    open_transaction,
    write_raw,
)

TOPICS = 5


async def make_topics(kafka: Kafka, settings: Settings, count: int = TOPICS) -> list[str]:
    names = [f"{settings.topic_prefix}{n}" for n in range(count)]
    await ensure_topics(kafka, settings, [Topic(name, 2, {}) for name in names])
    return names


async def write(kafka: Kafka, topic: str, partition: int, *values: bytes) -> None:
    writer = await TransactionalWriter.fence(kafka, f"{topic}.w{partition}")
    for value in values:
        await writer.write({partition: [Output(topic, b"7", value)]})
    await writer.discard()


async def test_the_first_and_the_last_record_of_each_stretch_are_found_in_all_topics_at_once(
    kafka: Kafka, settings: Settings
) -> None:
    names = await make_topics(kafka, settings)
    stretches: dict[TopicPartition, tuple[int, int]] = {}
    for n, name in enumerate(names):
        await write(kafka, name, 0, *(b"%d" % value for value in range(n)))
        for partition in (0, 1):
            end = await end_of(kafka, name, partition)
            stretches[TopicPartition(name, partition)] = (0, end)
    async with SingleRecords.open(kafka) as records:
        for _ in range(2):  # a second question begins anew
            firsts = await records.firsts(stretches)
            lasts = await records.lasts(stretches)
        behind_the_first = {tp: (1, end) for tp, (_, end) in stretches.items()}
        seconds = await records.firsts(behind_the_first)
    assert {tp.topic: record.value for tp, record in firsts.items()} == dict.fromkeys(
        names[1:], b"0"
    )
    assert {tp.topic: record.value for tp, record in lasts.items()} == {
        name: b"%d" % (n - 1) for n, name in enumerate(names) if n
    }
    assert {tp.topic: record.value for tp, record in seconds.items()} == dict.fromkeys(
        names[2:], b"1"
    )
    assert {tp.partition for tp in (*firsts, *lasts, *seconds)} == {0}


async def test_the_last_record_is_found_behind_many_that_were_aborted(
    kafka: Kafka, settings: Settings
) -> None:
    (name,) = await make_topics(kafka, settings, 1)
    await write(kafka, name, 0, b"first", b"last")
    for _ in range(12):
        await leave_aborted(kafka, name, b"aborted", b"aborted")
    tp, end = TopicPartition(name, 0), await end_of(kafka, name, 0)
    assert end > 4 + single_records.FIRST_STEP
    async with SingleRecords.open(kafka) as records:
        assert (await records.lasts({tp: (0, end)}))[tp].value == b"last"
        assert await records.lasts({tp: (4, end)}) == {}
        assert await records.firsts({tp: (4, end)}) == {}


async def test_what_retention_takes_meanwhile_and_what_a_transaction_hides_is_no_answer(
    kafka: Kafka, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = await make_topics(kafka, settings, 1)
    monkeypatch.setattr(single_records, "STALL_S", 1.0)
    for n in range(3):
        await write_raw(kafka, name, 0, b"7", b"%d" % n)
    await delete_records(kafka, name, 0, before=2)
    tp = TopicPartition(name, 0)
    async with SingleRecords.open(kafka) as records:
        with pytest.raises(KafkaUnavailable, match="retention went on"):
            await records.firsts({tp: (0, 3)})
        async with open_transaction(kafka, f"{name}.open", name, 0, b"hidden") as producer:
            async with asyncio.timeout(10):
                with pytest.raises(KafkaUnavailable, match="no progress"):
                    await records.lasts({tp: (3, 4)})
            assert (await records.lasts({tp: (2, 3)}))[tp].value == b"2"
            await producer.abort_transaction()
