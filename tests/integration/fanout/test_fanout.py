"""Fan-out on a real broker: each partner gets exactly its own events, once, in order, provably."""

from collections.abc import Sequence

import msgspec
import pytest
from aiokafka.errors import KafkaError

from eventlog.groups import group_members
from eventlog.kafka import Kafka
from eventlog.records import Output, Record, TopicPartition
from eventlog.registry import write_entries
from eventlog.stage.ending import end_stage
from eventlog.topic_setup import delete_topic, ensure_topics, topic_exists
from eventlog.transactional_writer import TransactionalWriter
from fanout.role import run_fanout
from runtime.errors import KafkaUnavailable
from runtime.settings import Settings
from schemas.lanes import lane_id
from schemas.lock_events import Event, EventHeaders, encode_event, event_type
from schemas.partner_events import PartnerPosition, decode_envelope
from schemas.topic_configs import Topic
from schemas.topics import lock_key, partition_of
from tests.examples_of import created_event, used_event
from tests.integration.kafka_tools import (
    delete_records,
    eventually,
    open_transaction,
    read_all,
    retained,
    shares,
    write_raw,
)
from tests.integration.roles import add_partner, install, running


class Stream:
    """Writes ``lock-events`` as a projector does, and reads partners' topics."""

    def __init__(self, kafka: Kafka, settings: Settings) -> None:
        self.kafka, self.settings, self.topics = kafka, settings, settings.topics
        self._facts = 0

    async def publish(self, *events: Event) -> None:
        by_partition: dict[int, list[Output]] = {}
        for event in events:
            partition = partition_of(event.lock_id, self.settings.partitions)
            by_partition.setdefault(partition, []).append(self._output(event))
        for partition, outputs in by_partition.items():
            name = f"projector.{self.topics.lock_facts}.{partition}"
            writer = await TransactionalWriter.fence(self.kafka, name)
            await writer.write({partition: outputs})
            await writer.discard()

    def _output(self, event: Event) -> Output:
        self._facts += 1
        headers = EventHeaders(
            str(event.event_id), event_type(event), event.org_id, event.version, self._facts
        )
        return Output(
            self.topics.lock_events,
            lock_key(event.lock_id),
            encode_event(event),
            headers.to_kafka(),
        )

    async def delivered(self, partner_id: str) -> list[Record]:
        topic = self.topics.partner_events(partner_id)
        return await read_all(self.kafka, topic, self.settings.partitions)

    async def until_delivered(self, partner_id: str, count: int) -> list[Record]:
        async def enough() -> bool:
            return len(await self.delivered(partner_id)) >= count

        await eventually(enough)
        return await self.delivered(partner_id)


@pytest.fixture
async def stream(kafka: Kafka, settings: Settings) -> Stream:
    await install(kafka, settings)
    return Stream(kafka, settings)


def check_sequences(records: Sequence[Record]) -> None:
    """What a partner can check by itself: 1, 2, 3 … in every partition."""
    by_partition: dict[int, list[int]] = {}
    for record in records:
        position = PartnerPosition.from_kafka(record.headers)
        by_partition.setdefault(record.partition, []).append(position.sequence)
    for sequences in by_partition.values():
        assert sequences == list(range(1, len(sequences) + 1))


def versions(records: Sequence[Record], lock_id: int) -> list[int]:
    found = [decode_envelope(r.value or b"") for r in records if r.key == lock_key(lock_id)]
    return [record.detail.version for record in found]


async def test_a_partner_gets_its_organisations_events_and_nobody_elses(stream: Stream) -> None:
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    await add_partner(stream.kafka, stream.settings, "b", "bolt")
    await add_partner(stream.kafka, stream.settings, "c", "acme", types=("LockCreated",))
    await stream.publish(created_event(1), created_event(2, "bolt"))
    for version in range(2, 12):
        await stream.publish(
            used_event(1, version),
            used_event(2, version, org_id="bolt"),
            created_event(version + 1),
        )
    async with running(run_fanout, stream.settings):
        a = await stream.until_delivered("a", 21)
        b = await stream.until_delivered("b", 11)
        c = await stream.until_delivered("c", 11)
    assert versions(a, 1) == list(range(1, 12))
    assert versions(b, 2) == list(range(1, 12))
    assert {r.key for r in b} == {b"2"}
    assert len(a) == 21
    assert {decode_envelope(r.value or b"").detail_type for r in c} == {"LockCreated"}
    for records in (a, b, c):
        check_sequences(records)


async def test_a_partner_is_added_paused_resumed_and_removed_without_a_restart(
    stream: Stream,
) -> None:
    await stream.publish(created_event(1))
    async with running(run_fanout, stream.settings):
        partner = await add_partner(stream.kafka, stream.settings, "a", "acme")
        await stream.until_delivered("a", 1)
        await _set(stream, msgspec.structs.replace(partner, status="paused"))
        await eventually(lambda: _nobody_serves(stream, "a"))
        other = await add_partner(stream.kafka, stream.settings, "b", "acme")
        await stream.publish(used_event(1, 2))
        await stream.until_delivered("b", 2)
        assert len(await stream.delivered("a")) == 1
        await _set(stream, partner)
        a = await stream.until_delivered("a", 2)
        await _set(stream, msgspec.structs.replace(other, status="removed"))
        await eventually(lambda: _nobody_serves(stream, "b"))
        await stream.publish(used_event(1, 3))
        a = await stream.until_delivered("a", 3)
        # One that is added later is served by now: nobody has begun with the removed one anew.
        await add_partner(stream.kafka, stream.settings, "c", "acme")
        await stream.until_delivered("c", 3)
        assert await _nobody_serves(stream, "b")
    assert versions(a, 1) == [1, 2, 3]
    check_sequences(a)
    assert versions(await stream.delivered("b"), 1) == [1, 2]


async def _nobody_serves(stream: Stream, partner_id: str) -> bool:
    return not await group_members(stream.kafka, stream.topics.fanout_group(partner_id))


async def test_a_changed_subscription_needs_no_restart(stream: Stream) -> None:
    moves, uses = ("OrganizationSet",), ("TempKeyUsed",)
    partner = await add_partner(stream.kafka, stream.settings, "a", "acme", types=moves)
    await add_partner(stream.kafka, stream.settings, "b", "acme")
    await stream.publish(created_event(1))
    version = 1
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("b", 1)
        await _set(stream, msgspec.structs.replace(partner, types=uses))

        async def is_delivered_to() -> bool:
            nonlocal version
            version += 1
            await stream.publish(used_event(1, version))
            return bool(await stream.delivered("a"))

        await eventually(is_delivered_to)
        a = await stream.delivered("a")
    assert {decode_envelope(r.value or b"").detail_type for r in a} == {"TempKeyUsed"}
    check_sequences(a)


async def _set(stream: Stream, partner: msgspec.Struct) -> None:
    await write_entries(stream.kafka, stream.topics.registry, [partner])  # type: ignore[list-item]


async def test_a_partner_begins_where_its_entry_says(stream: Stream) -> None:
    partitions = stream.settings.partitions
    home = partition_of(1, partitions)
    await stream.publish(created_event(1), used_event(1, 2), used_event(1, 3))
    start = tuple(2 if p == home else 0 for p in range(partitions))
    await add_partner(stream.kafka, stream.settings, "late", "acme", start_offsets=start)
    async with running(run_fanout, stream.settings):
        records = await stream.until_delivered("late", 1)
    assert versions(records, 1) == [3]
    check_sequences(records)


async def test_a_fanout_that_is_abandoned_anywhere_repeats_and_loses_nothing(
    stream: Stream,
) -> None:
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    locks = range(1, 7)
    await stream.publish(*(created_event(n) for n in locks))
    version = 1
    for _ in range(4):
        for _ in range(20):
            version += 1
            await stream.publish(used_event(1, version))
        async with running(run_fanout, stream.settings) as fanout:
            await stream.until_delivered("a", version // 2)
            await fanout.abandon()
    async with running(run_fanout, stream.settings):
        records = await stream.until_delivered("a", version + 5)
    assert versions(records, 1) == list(range(1, version + 1))
    assert len(records) == version + 5
    check_sequences(records)


async def test_two_fanouts_share_a_partners_partitions(stream: Stream) -> None:
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    locks = range(1, 9)
    group, partitions = stream.topics.fanout_group("a"), stream.settings.partitions
    async with running(run_fanout, stream.settings) as first:
        await stream.publish(*(created_event(n) for n in locks))
        await stream.until_delivered("a", 8)
        async with running(run_fanout, stream.settings):
            await eventually(lambda: shares(stream.kafka, group, 2, partitions))
            await stream.publish(*(used_event(n, 2) for n in locks))
            await stream.until_delivered("a", 16)
            await first.stop()
            await eventually(lambda: shares(stream.kafka, group, 1, partitions))
            await stream.publish(*(used_event(n, 3) for n in locks))
            records = await stream.until_delivered("a", 24)
    for n in locks:
        assert versions(records, n) == [1, 2, 3]
    check_sequences(records)


async def test_a_topic_that_retention_has_emptied_goes_on_where_it_was(stream: Stream) -> None:
    """The output no longer knows its position: the checkpoint does."""
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    home = partition_of(1, stream.settings.partitions)
    await stream.publish(created_event(1), used_event(1, 2))
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("a", 2)
    await delete_records(stream.kafka, stream.topics.partner_events("a"), home)
    async with running(run_fanout, stream.settings):
        await stream.publish(used_event(1, 3))
        await eventually(lambda: _next_is(stream, 3))


async def _next_is(stream: Stream, version: int) -> bool:
    home = partition_of(1, stream.settings.partitions)
    found = await retained(stream.kafka, stream.topics.partner_events("a"), home)
    if not found:
        return False
    assert [decode_envelope(r.value or b"").detail.version for r in found] == [version]
    assert PartnerPosition.from_kafka(found[0].headers).sequence == 3
    return True


async def test_a_partner_whose_first_transaction_was_aborted_starts_all_the_same(
    stream: Stream,
) -> None:
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    home = partition_of(1, stream.settings.partitions)
    name = f"fanout.a.{stream.topics.lock_events}.{home}"
    topic = stream.topics.partner_events("a")
    async with open_transaction(stream.kafka, name, topic, home, b"never committed") as dead:
        await dead.abort_transaction()
    await stream.publish(created_event(1))
    async with running(run_fanout, stream.settings):
        check_sequences(await stream.until_delivered("a", 1))


async def test_a_partner_that_is_added_again_gets_everything_again(stream: Stream) -> None:
    """Its id had another life, whose checkpoints are still there."""
    first = await add_partner(stream.kafka, stream.settings, "a", "acme", types=("LockCreated",))
    await stream.publish(created_event(1), used_event(1, 2), used_event(1, 3))
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("a", 1)
    await delete_topic(stream.kafka, stream.topics.partner_events("a"))
    again = msgspec.structs.replace(first, types=("*",), created_at="2026-11-24T00:00:00.000Z")

    async def gone() -> bool:
        return not await topic_exists(stream.kafka, stream.topics.partner_events("a"))

    await eventually(gone)
    await _set(stream, again)
    async with running(run_fanout, stream.settings):
        records = await stream.until_delivered("a", 3)
    assert versions(records, 1) == [1, 2, 3]
    check_sequences(records)


async def test_a_broken_partner_delays_nobody_else(
    stream: Stream, logged_errors: list[str]
) -> None:
    home = partition_of(1, stream.settings.partitions)
    await add_partner(stream.kafka, stream.settings, "broken", "acme")
    await add_partner(stream.kafka, stream.settings, "fine", "acme")
    await write_raw(stream.kafka, stream.topics.partner_events("broken"), home, b"1", b"not ours")
    await stream.publish(created_event(1), used_event(1, 2))
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("fine", 2)
        await eventually(lambda: _said(logged_errors, "'sequence' is missing"))
    assert len(await stream.delivered("broken")) == 1
    logged_errors.clear()


async def test_a_partition_that_has_stopped_delays_no_other_of_its_partner(
    stream: Stream, logged_errors: list[str]
) -> None:
    """From the first start on, when its group has no offsets yet."""
    partitions = stream.settings.partitions
    home = partition_of(1, partitions)
    others = [n for n in range(2, 30) if partition_of(n, partitions) != home]
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    await write_raw(stream.kafka, stream.topics.partner_events("a"), home, b"1", b"not ours")
    await stream.publish(created_event(1), *(created_event(n) for n in others))
    async with running(run_fanout, stream.settings):
        await eventually(lambda: _said(logged_errors, "'sequence' is missing"))
        records = await stream.until_delivered("a", 1 + len(others))
    assert {r.key for r in records if r.partition != home} == {b"%d" % n for n in others}
    logged_errors.clear()


async def _said(lines: list[str], text: str) -> bool:
    return any(text in line for line in lines)


async def test_a_partner_that_can_not_be_served_delays_nobody_else(stream: Stream) -> None:
    """Its topic was made by somebody else, with another partition count."""
    wrong = Topic(stream.topics.partner_events("broken"), stream.settings.partitions + 1, {})
    await ensure_topics(stream.kafka, stream.settings, [wrong])
    fine = await add_partner(stream.kafka, stream.settings, "fine", "acme")
    await _set(stream, msgspec.structs.replace(fine, id="broken"))
    await stream.publish(created_event(1))
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("fine", 1)
        await stream.publish(used_event(1, 2))
        await stream.until_delivered("fine", 2)


async def test_a_foreign_record_in_the_stream_reaches_no_partner(
    stream: Stream, logged_errors: list[str]
) -> None:
    home = partition_of(1, stream.settings.partitions)
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    await stream.publish(created_event(1))
    await write_raw(stream.kafka, stream.topics.lock_events, home, b"1", b"{}")
    await stream.publish(used_event(1, 2))
    async with running(run_fanout, stream.settings):
        await eventually(lambda: _said(logged_errors, "header"))
    assert versions(await stream.delivered("a"), 1) == [1]
    logged_errors.clear()


async def test_an_idle_partner_remembers_what_it_has_skipped(stream: Stream) -> None:
    """Its checkpoint moves on, so that a restart does not read everything again."""
    await add_partner(stream.kafka, stream.settings, "idle", "nobody")
    await stream.publish(created_event(1), *(used_event(1, v) for v in range(2, 50)))
    async with running(run_fanout, stream.settings):
        await eventually(lambda: _checkpoint_reaches(stream, 49), timeout_s=15)


async def _checkpoint_reaches(stream: Stream, offset: int) -> bool:
    home = partition_of(1, stream.settings.partitions)
    async with stream.kafka.admin() as admin:
        found = await admin.group_offsets(stream.topics.group("fanout.idle"))
    at, note = found.get(TopicPartition(stream.topics.lock_events, home), (-1, ""))
    return at >= offset and note.startswith("sequence=0;")


def lane_ids(stream: Stream, partner_id: str) -> list[str]:
    group = stream.topics.fanout_group(partner_id)
    return [lane_id(group, lane) for lane in range(stream.settings.lanes)]


async def delete(stream: Stream, timeout_s: float) -> None:
    await end_stage(
        stream.kafka,
        stream.topics.fanout_group("a"),
        lane_ids(stream, "a"),
        timeout_s,
    )
    await delete_topic(stream.kafka, stream.topics.partner_events("a"))


async def test_a_topic_that_is_still_written_into_is_not_deleted(stream: Stream) -> None:
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    await stream.publish(created_event(1))
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("a", 1)
        with pytest.raises(KafkaUnavailable, match=r"still in group .*fanout\.a"):
            await delete(stream, timeout_s=0.0)
    assert len(await stream.delivered("a")) == 1


async def test_an_open_transaction_is_ended_before_its_topic_is_deleted(stream: Stream) -> None:
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    name = lane_ids(stream, "a")[0]
    topic = stream.topics.partner_events("a")
    async with open_transaction(stream.kafka, name, topic, 0, b"never committed") as paused:
        await delete(stream, timeout_s=5.0)
        with pytest.raises(KafkaError):
            await paused.commit_transaction()

    async def gone() -> bool:
        return not await topic_exists(stream.kafka, topic)

    await eventually(gone)
