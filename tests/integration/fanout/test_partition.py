"""Where one partition of a partner goes on, and what of the stream it gives on."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from eventlog.checkpoints import Checkpoint
from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader
from eventlog.records import Output, Record
from eventlog.stage.stage_partition import OutputLog
from eventlog.transactional_writer import TransactionalWriter
from fanout.partition import FanoutPartition
from fanout.positions import Position, Positions
from runtime.errors import StreamViolation
from runtime.settings import Settings
from schemas.lock_events import Event, EventHeaders, encode_event, event_type
from schemas.partner_events import (
    PartnerPosition,
    decode_envelope,
    encode_envelope,
    envelope,
    partner_headers,
)
from schemas.registry import EarlierTypes, Partner, PausedAt
from schemas.topics import lock_key
from tests.examples_of import POSITIONS, created_event, used_event
from tests.integration.kafka_tools import delete_records, write_raw
from tests.integration.roles import add_partner, install


class Partition:
    """Partition 0 of the partner ``a``, as whoever takes it finds it."""

    def __init__(self, kafka: Kafka, settings: Settings, partner: Partner) -> None:
        self.kafka, self.settings, self.partner = kafka, settings, partner
        self.topic = settings.topics.partner_events("a")
        self.positions = POSITIONS

    def made(self) -> FanoutPartition:
        return FanoutPartition(self.settings.topics, self.partner, 0, self.positions)

    def position_of(self, output: Output) -> Position:
        record = Record(0, 0, 0, output.key, output.value, output.headers)
        return self.positions.read(output.topic, record)

    async def deliver(self, *places: tuple[int, int]) -> None:
        """Records of the topic, as ``(source_offset, sequence)``."""
        value = envelope(used_event(), "a")
        outputs = [
            Output(
                self.topic,
                b"7",
                encode_envelope(value),
                partner_headers(
                    value,
                    position=self.positions.seal(self.topic, 0, sequence, offset),
                    sequence=sequence,
                ),
            )
            for offset, sequence in places
        ]
        writer = await TransactionalWriter.fence(self.kafka, f"{self.topic}.test")
        await writer.write({0: outputs})
        await writer.discard()

    async def empty(self) -> None:
        await delete_records(self.kafka, self.topic, 0)

    @asynccontextmanager
    async def output(self, next_offset: int, note: str) -> AsyncIterator[OutputLog]:
        """With a checkpoint; without one if the note is empty."""
        checkpoint = Checkpoint(next_offset, note) if note else None
        async with (
            LogReader.open(self.kafka) as reader,
            self.kafka.offsets_client() as offsets,
        ):
            yield OutputLog(reader, offsets, 0, checkpoint)

    async def goes_on_at(self, next_offset: int = 0, note: str = "") -> int:
        async with self.output(next_offset, note) as output:
            return await self.made().restore(output)


@pytest.fixture
async def partition(kafka: Kafka, settings: Settings) -> Partition:
    await install(kafka, settings)
    starts = (3,) + (0,) * (settings.partitions - 1)
    partner = await add_partner(kafka, settings, "a", "acme", start_offsets=starts)
    return Partition(kafka, settings, partner)


def note(sequence: int, partner: Partner) -> str:
    return f"sequence={sequence};since={partner.created_at}"


async def test_a_new_partner_begins_where_it_was_registered_from(partition: Partition) -> None:
    assert await partition.goes_on_at() == 3


async def test_the_output_says_where_to_go_on_and_how_to_count(partition: Partition) -> None:
    await partition.deliver((10, 1), (14, 2))
    taken = partition.made()
    async with partition.output(0, "") as output:
        assert await taken.restore(output) == 15
    decided = await taken.process([record_of(15, 1, used_event(version=9))])
    assert partition.position_of(decided.outputs[0]) == Position(15, 3)


async def test_a_record_of_before_positions_were_sealed_says_where_to_go_on(
    partition: Partition,
) -> None:
    before = (("source-offset", b"14"), ("sequence", b"2"))
    await write_raw(partition.kafka, partition.topic, 0, b"7", b"{}", before)
    assert await partition.goes_on_at() == 15
    assert await partition.goes_on_at(500, note(2, partition.partner)) == 500
    await partition.deliver((15, 3))
    assert await partition.goes_on_at() == 16


async def test_a_position_that_this_installation_did_not_seal_stops_the_partition(
    partition: Partition,
) -> None:
    """To go on from anywhere else would repeat or lose events."""
    await partition.deliver((10, 1))
    topic, others = partition.topic, partition.positions.seal(partition.topic, 1, 2, 11)
    made_up = "A" * len(others)
    copied = partition.positions.seal(topic, 0, 1, 10)
    for forged in (others, made_up, copied, "", "no position"):
        headers = (("position", forged.encode()), ("sequence", b"2"))
        await write_raw(partition.kafka, topic, 0, b"7", b"{}", headers)
        with pytest.raises(StreamViolation, match="none of this installation's"):
            await partition.goes_on_at(500, note(2, partition.partner))


async def test_without_the_key_a_partition_stops_and_repeats_nothing(partition: Partition) -> None:
    await partition.deliver((10, 1), (14, 2))
    partition.positions = Positions(None)
    with pytest.raises(StreamViolation, match="the registry has no position key"):
        await partition.goes_on_at(500, note(2, partition.partner))
    with pytest.raises(StreamViolation, match="the registry has no position key"):
        await partition.made().process([record_of(15, 1, used_event(version=9))])


async def test_a_checkpoint_is_believed_only_if_it_names_the_end_of_the_output(
    partition: Partition,
) -> None:
    """Group offsets can be set by anybody with Kafka's own tools."""
    await partition.deliver((10, 1), (14, 2))
    partner = partition.partner
    assert await partition.goes_on_at(500, note(2, partner)) == 500
    for wrong in (
        note(1, partner),
        note(3, partner),
        note(2, msgspec.structs.replace(partner, created_at="2020-01-01T00:00:00.000Z")),
        "sequence=2",
        "anything",
    ):
        assert await partition.goes_on_at(500, wrong) == 15
    assert await partition.goes_on_at(4, note(2, partner)) == 15


async def test_a_checkpoint_of_whoever_knew_less_of_its_types_counts_up_to_their_change(
    partition: Partition,
) -> None:
    """It may have passed over what the partner gets by the types that came then."""
    await partition.deliver((10, 1), (14, 2))
    others = (0,) * (partition.settings.partitions - 1)
    changes = (EarlierTypes(("LockCreated",), (30, *others)), EarlierTypes(("*",), (50, *others)))
    before = note(2, partition.partner)
    partition.partner = msgspec.structs.replace(partition.partner, earlier=changes)
    assert partition.made().note == f"{note(0, partition.partner)};changes=2"
    for known, believed in ((before, 30), (f"{before};changes=1", 50), (f"{before};changes=2", 90)):
        assert await partition.goes_on_at(90, known) == believed
        assert await partition.goes_on_at(20, known) == 20
        await partition_emptied(partition, known, believed)


async def partition_emptied(partition: Partition, known: str, believed: int) -> None:
    """As far as the checkpoint is believed once retention has left nothing else."""
    await partition.deliver((10, 1), (14, 2))
    await partition.empty()
    assert await partition.goes_on_at(90, known) == believed
    assert await partition.goes_on_at(20, known) == 20
    await partition.deliver((10, 1), (14, 2))


async def test_a_topic_that_is_empty_and_was_not_needs_a_checkpoint(partition: Partition) -> None:
    await partition.deliver((10, 1), (14, 2))
    await partition.empty()
    assert await partition.goes_on_at(15, note(2, partition.partner)) == 15
    with pytest.raises(StreamViolation, match="could repeat events"):
        await partition.goes_on_at()
    with pytest.raises(StreamViolation, match="could repeat events"):
        await partition.goes_on_at(15, "anything")


async def test_a_paused_partner_goes_on_where_it_was_though_nothing_else_knows(
    partition: Partition,
) -> None:
    """Retention has emptied its topic, and its group's offsets have expired."""
    await partition.deliver((10, 1), (14, 2))
    async with partition.output(40, note(2, partition.partner)) as output:
        kept = await partition.made().paused_at(output)
        assert kept == PausedAt(40, 2, await output.high_watermark(partition.topic))
    partition.partner = msgspec.structs.replace(partition.partner, paused_at=(kept,))
    assert await partition.goes_on_at() == 40
    await partition.empty()
    taken = partition.made()
    async with partition.output(0, "") as output:
        assert await taken.restore(output) == 40
    decided = await taken.process([record_of(40, 1, used_event())])
    assert PartnerPosition.from_kafka(decided.outputs[0].headers).sequence == 3


async def test_where_a_partner_was_paused_says_nothing_once_more_was_written(
    partition: Partition,
) -> None:
    await partition.deliver((10, 1))
    async with partition.output(0, "") as output:
        kept = await partition.made().paused_at(output)
    kept = msgspec.structs.replace(kept, next_offset=40)
    partition.partner = msgspec.structs.replace(partition.partner, paused_at=(kept,))
    assert await partition.goes_on_at() == 40
    await partition.deliver((14, 2))
    assert await partition.goes_on_at() == 15
    await partition.empty()
    with pytest.raises(StreamViolation, match="could repeat events"):
        await partition.goes_on_at()


async def test_a_registration_that_lacks_a_partition_stops_it(partition: Partition) -> None:
    partition.partner = msgspec.structs.replace(partition.partner, start_offsets=())
    with pytest.raises(StreamViolation, match="no start offset for partition 0"):
        await partition.goes_on_at()


def record_of(offset: int, source_offset: int, event: Event) -> Record:
    headers = EventHeaders(
        str(event.event_id), event_type(event), event.org_id, event.version, source_offset
    )
    value = encode_event(event)
    return Record(0, offset, 0, lock_key(event.lock_id), value, headers.to_kafka())


async def delivered(partition: Partition, records: Sequence[Record]) -> list[int]:
    """The offsets of the events that it gives on, in one call or in as many as it takes."""
    decided = await partition.made().process(records)
    positions = [partition.position_of(output) for output in decided.outputs]
    assert [position.sequence for position in positions] == list(range(1, len(positions) + 1))
    return [position.source_offset for position in positions]


async def test_what_stands_before_a_foreign_record_is_given_on(partition: Partition) -> None:
    good = record_of(0, 0, created_event())
    foreign = Record(0, 1, 0, b"7", b"{}", ())
    assert await delivered(partition, [good, foreign]) == [0]
    with pytest.raises(StreamViolation, match="offset 1"):
        await delivered(partition, [foreign, record_of(2, 1, used_event())])


@pytest.mark.parametrize("again", [4, 3])
async def test_an_event_whose_fact_does_not_follow_goes_to_nobody(
    partition: Partition, again: int
) -> None:
    events = [record_of(0, 4, created_event()), record_of(1, again, used_event())]
    assert await delivered(partition, events) == [0]
    made = partition.made()
    await made.process(events[:1])
    with pytest.raises(StreamViolation, match=f"source-offset {again} does not follow 4"):
        await made.process(events[1:])
    with pytest.raises(StreamViolation, match=f"source-offset {again} does not follow 4"):
        await made.process(events[1:])


async def test_what_a_partner_does_not_get_leaves_no_gap_in_its_sequence(
    partition: Partition,
) -> None:
    events = [
        record_of(0, 0, created_event()),
        record_of(1, 1, used_event(version=2, org_id="bolt")),
        record_of(2, 2, used_event(version=3)),
    ]
    assert await delivered(partition, events) == [0, 2]


async def test_a_record_is_for_its_partner_under_its_locks_key(partition: Partition) -> None:
    decided = await partition.made().process([record_of(3, 1, used_event(lock_id=9, version=4))])
    (output,) = decided.outputs
    assert (output.topic, output.key) == (partition.topic, b"9")
    detail = decode_envelope(output.value or b"").detail
    assert (detail.partner_id, detail.version, detail.data.lock_id) == ("a", 4, 9)


async def test_an_event_that_can_not_be_read_is_refused_for_that_each_time(
    partition: Partition,
) -> None:
    unreadable = msgspec.structs.replace(record_of(3, 1, used_event()), value=b"{}")
    made = partition.made()
    for _ in range(2):
        with pytest.raises(StreamViolation, match="offset 3: Object missing required field"):
            await made.process([unreadable])
