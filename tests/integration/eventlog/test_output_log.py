"""What an owner may rely on when it restores from its output, on a real broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader
from eventlog.records import Output, Record
from eventlog.stage.stage_partition import OutputLog
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import KafkaUnavailable
from runtime.settings import Settings
from tests.integration.kafka_tools import delete_records, leave_aborted, leave_open
from tests.integration.roles import install


class RetentionGoesOn(OutputLog):
    """Deletes everything before ``until`` as soon as somebody knows where the topic begins."""

    kafka: Kafka
    until = 0

    async def beginning(self, topic: str) -> int:
        begin = await super().beginning(topic)
        if begin < self.until:
            await delete_records(self.kafka, topic, self.partition, self.until)
        return begin


@asynccontextmanager
async def output_of(kafka: Kafka, settings: Settings) -> AsyncIterator[RetentionGoesOn]:
    """With three records."""
    await install(kafka, settings)
    topic = settings.topics.parked_facts
    writer = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w")
    await writer.write({0: [Output(topic, b"7", value) for value in (b"a", b"b", b"c")]})
    await writer.discard()
    async with LogReader.open(kafka) as reader, kafka.offsets_client() as offsets:
        output = RetentionGoesOn(reader, offsets, 0, None)
        output.kafka = kafka
        yield output


async def everything(output: OutputLog, topic: str) -> list[Record]:
    begin, end = await output.beginning(topic), await output.high_watermark(topic)
    return [record async for records in output.read(topic, begin, end) for record in records]


async def test_retention_between_two_questions_is_tried_again(
    kafka: Kafka, settings: Settings
) -> None:
    topic = settings.topics.parked_facts
    async with output_of(kafka, settings) as output:
        output.until = 1
        with pytest.raises(KafkaUnavailable, match="retention"):
            await everything(output, topic)
        assert [record.value for record in await everything(output, topic)] == [b"b", b"c"]
        output.until = 2
        with pytest.raises(KafkaUnavailable, match="retention"):
            await output.last(topic)
        last = await output.last(topic)
        assert last is not None
        assert last.value == b"c"


async def test_the_high_watermark_counts_what_is_not_decided_yet(
    kafka: Kafka, settings: Settings
) -> None:
    """Before it, markers may be missing still: whoever stopped there would overlook what a
    predecessor has committed."""
    topic = settings.topics.parked_facts
    async with output_of(kafka, settings) as output:
        before = await output.high_watermark(topic)
        undecided = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}other")
        await leave_open(undecided, 0, [Output(topic, b"7", b"undecided")])
        assert await output.high_watermark(topic) == before + 1
        await undecided.discard()


async def test_the_last_record_is_found_behind_any_number_of_aborted_ones(
    kafka: Kafka, settings: Settings
) -> None:
    topic = settings.topics.parked_facts
    async with output_of(kafka, settings) as output:
        await leave_aborted(kafka, topic, *[b"aborted"] * 200)
        last = await output.last(topic)
        assert last is not None
        assert last.value == b"c"
