"""Following a topic: what a tail has seen when it says that it has caught up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from eventlog.kafka import Kafka
from eventlog.records import Output, Record
from eventlog.tail import Tail
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import KafkaUnavailable
from runtime.settings import Settings
from tests.integration.kafka_tools import leave_aborted
from tests.integration.roles import install

RECORDS = 2_000


class Seen:
    def __init__(self) -> None:
        self.values: list[bytes | None] = []

    def take(self, topic: str, records: Sequence[Record]) -> None:
        self.values.extend(record.value for record in records)


@pytest.fixture
async def topic(kafka: Kafka, settings: Settings) -> str:
    """Partition 0 holds ``RECORDS`` records, and then one that was aborted."""
    await install(kafka, settings)
    topic = settings.topics.lock_events
    writer = await TransactionalWriter.fence(kafka, f"{topic}.test")
    await writer.write({0: [Output(topic, b"7", b"%d" % n) for n in range(RECORDS)]})
    await writer.discard()
    await leave_aborted(kafka, topic, b"aborted")
    return topic


@asynccontextmanager
async def running(tail: Tail) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tail.run(stop))
        yield
        stop.set()


async def test_a_tail_is_caught_up_when_it_has_seen_all_that_was_committed(
    kafka: Kafka, topic: str
) -> None:
    seen = Seen()
    tail = Tail(kafka, {topic: {0: 0, 1: 0}}, seen.take)
    async with running(tail), asyncio.timeout(30):
        await tail.caught_up.wait()
        assert seen.values == [b"%d" % n for n in range(RECORDS)]


async def test_a_tail_can_be_waited_for_up_to_an_offset_behind_the_last_record(
    kafka: Kafka, topic: str
) -> None:
    seen = Seen()
    tail = Tail(kafka, {topic: {0: RECORDS - 1}}, seen.take)
    async with running(tail):
        # Behind the last record stand a marker, the aborted record and its marker.
        await tail.until(topic, 0, RECORDS + 3, 30.0)
        assert seen.values == [b"%d" % (RECORDS - 1)]
        with pytest.raises(KafkaUnavailable, match="not read up to"):
            await tail.until(topic, 0, RECORDS + 4, 0.2)
