"""What partners were not sent, and what they have not read, on a real broker."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, OffsetAndMetadata
from confluent_kafka import Consumer
from prometheus_client.metrics_core import Metric

from eventlog.groups import delete_group
from eventlog.kafka import Kafka
from eventlog.records import TopicPartition
from fanout import reading_metrics
from fanout.own_groups import by_owner, read_own_groups
from fanout.reading import PartnerReading, PartnersReader, open_clients
from fanout.reading_metrics import ReadingMetrics
from fanout.role import run_fanout
from runtime.settings import Settings
from schemas.registry import Partner
from schemas.topics import partition_of
from tests.examples_of import created_event, used_event
from tests.integration.fanout.test_fanout import Stream
from tests.integration.kafka_tools import delete_records, eventually
from tests.integration.roles import add_partner, install, running


@pytest.fixture
async def stream(kafka: Kafka, settings: Settings) -> Stream:
    await install(kafka, settings)
    return Stream(kafka, settings)


async def commit(stream: Stream, group: str, partner_id: str, offsets: Mapping[int, int]) -> None:
    """Commits what a partner's group has read, as a tool does that resets it."""
    topics = stream.topics
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stream.settings.kafka_bootstrap_servers,
        group_id=topics.group(group),
        enable_auto_commit=False,
    )
    await consumer.start()
    own = topics.partner_events(partner_id)
    partitions = [TopicPartition(own, number) for number in offsets]
    consumer.assign(partitions)
    await consumer.commit({tp: OffsetAndMetadata(offsets[tp.partition], "") for tp in partitions})
    await consumer.stop()


async def read(stream: Stream, *partners: Partner, most: int = 10) -> list[PartnerReading]:
    """Asks as `partner lag` does."""
    reader = PartnersReader(stream.topics, most)
    reader.entitled.begin(partners)
    async with open_clients(stream.kafka) as clients:
        ends = await reader.stream_ends(clients)
        await reader.know_counts(clients, partners)
        for stretch in reader.entitled.stretches(ends):
            await reader.entitled.count(clients.stream, stretch)
        return await reader.read(clients, partners, ends)


async def test_unread_records_are_counted_and_no_markers_by_group(stream: Stream) -> None:
    partner = await add_partner(stream.kafka, stream.settings, "a", "acme")
    home = partition_of(1, stream.settings.partitions)
    async with running(run_fanout, stream.settings):
        for number in range(1, 7):
            # Each in a transaction of its own, with a marker behind it.
            await stream.publish(used_event(1, number))
            records = await stream.until_delivered("a", number)
    assert [record.offset for record in records] != list(range(6))
    (nobody,) = await read(stream, partner)
    assert (nobody.unread.records, nobody.groups) == (6, [])
    assert nobody.unread.oldest_ms == records[0].timestamp_ms
    await commit(stream, "a", "a", {home: records[2].offset + 1})
    await commit(stream, "a.done", "a", {home: records[5].offset + 1})
    # Nobody's of ours, and another partner's.
    await commit(stream, "ab", "a", {home: 0})
    await commit(stream, "fanout.x", "a", {home: 0})
    (found,) = await read(stream, partner)
    groups = {
        group.name.removeprefix(stream.settings.topic_prefix): group for group in found.groups
    }
    assert {name: group.unread.records for name, group in groups.items()} == {"a": 3, "a.done": 0}
    assert found.unread.records == 3
    assert found.unread.oldest_ms == records[3].timestamp_ms
    assert found.retention_ms == 30 * 86_400_000
    assert found.retained_until_ms(found.unread) == records[3].timestamp_ms + 30 * 86_400_000
    assert groups["a"].members == 0
    (few,) = await read(stream, partner, most=1)
    assert (len(few.groups), few.left_out) == (1, 1)


async def test_undelivered_are_a_partners_own_events_and_not_the_others(stream: Stream) -> None:
    a = await add_partner(stream.kafka, stream.settings, "a", "acme")
    c = await add_partner(stream.kafka, stream.settings, "c", "acme", types=("LockCreated",))
    b = await add_partner(stream.kafka, stream.settings, "b", "bolt")
    await stream.publish(created_event(1), created_event(2, "bolt"))
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("a", 1)
        await stream.until_delivered("b", 1)
        await stream.until_delivered("c", 1)
    await stream.publish(*(used_event(1, n) for n in range(2, 5)), created_event(3))
    assert [one.undelivered for one in await read(stream, a, b, c)] == [4, 0, 1]
    # Without checkpoints, what was sent is found in the partners' topics.
    for partner_id in "abc":
        await delete_group(stream.kafka, stream.topics.fanout_group(partner_id))
    assert [one.undelivered for one in await read(stream, a, b, c)] == [4, 0, 1]
    async with running(run_fanout, stream.settings):
        await stream.until_delivered("a", 5)
        await stream.until_delivered("c", 2)
    assert [one.undelivered for one in await read(stream, a, b, c)] == [0, 0, 0]


async def test_a_partner_whose_topic_is_not_there_yet_is_sent_all_it_is_entitled_to(
    stream: Stream,
) -> None:
    there = await add_partner(stream.kafka, stream.settings, "a", "acme")
    await stream.publish(created_event(1))
    absent = msgspec.structs.replace(there, id="absent")
    found = await read(stream, absent, there)
    assert [one.undelivered for one in found] == [1, 1]
    assert [one.retention_ms for one in found] == [None, 30 * 86_400_000]


async def test_what_retention_has_taken_unread_is_said(stream: Stream) -> None:
    partner = await add_partner(stream.kafka, stream.settings, "a", "acme")
    home = partition_of(1, stream.settings.partitions)
    async with running(run_fanout, stream.settings):
        for number in range(1, 5):
            await stream.publish(used_event(1, number))
            records = await stream.until_delivered("a", number)
        await commit(stream, "a", "a", {home: records[0].offset + 1})
        own = stream.topics.partner_events("a")
        await delete_records(stream.kafka, own, home, before=records[2].offset)
        (found,) = await read(stream, partner)
        assert found.unread == found.groups[0].unread
        assert (found.unread.records, found.unread.taken) == (2, True)
        await delete_records(stream.kafka, own, home)
    (emptied,) = await read(stream, partner)
    assert (emptied.unread.records, emptied.unread.taken, emptied.undelivered) == (0, True, 0)


@asynccontextmanager
async def member_by_the_new_protocol(stream: Stream, group: str, topic: str) -> AsyncIterator[None]:
    """Is a member of the group, as librdkafka makes them."""
    left = threading.Event()

    def be_member() -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": stream.settings.kafka_bootstrap_servers,
                "group.id": stream.topics.group(group),
                "group.protocol": "consumer",
                "auto.offset.reset": "earliest",
            }
        )
        consumer.subscribe([topic])
        while not left.is_set():
            consumer.poll(0.1)
        consumer.close()

    member = asyncio.ensure_future(asyncio.to_thread(be_member))
    try:
        yield
    finally:
        left.set()
        async with asyncio.timeout(20):
            await member


async def test_members_are_counted_whichever_protocol_their_group_has(stream: Stream) -> None:
    """KIP-848: librdkafka and Java take the new one where they are told to."""
    await add_partner(stream.kafka, stream.settings, "a", "acme")
    own = stream.topics.partner_events("a")
    old = AIOKafkaConsumer(
        own,
        bootstrap_servers=stream.settings.kafka_bootstrap_servers,
        group_id=stream.topics.group("a.old"),
    )
    await old.start()

    async def members() -> dict[str, int]:
        async with stream.kafka.admin() as admin:
            coordinators = await admin.coordinators()
            groups = by_owner(stream.topics, coordinators, ["a"])["a"]
            found = await read_own_groups(admin, coordinators, {own: groups})
        prefix = stream.settings.topic_prefix
        return {group.name.removeprefix(prefix): group.members for group in found[own]}

    async def both_are_counted() -> bool:
        return await members() == {"a.new": 2, "a.old": 1}

    async with (
        member_by_the_new_protocol(stream, "a.new", own),
        member_by_the_new_protocol(stream, "a.new", own),
    ):
        await eventually(both_are_counted)
    await old.stop()


# -- in /metrics -----------------------------------------------------------------------------------


def shown(metrics: ReadingMetrics) -> dict[str, dict[str, float]]:
    """Returns the values of each gauge, by partner."""

    def by_partner(metric: Metric) -> dict[str, float]:
        return {sample.labels["partner"]: sample.value for sample in metric.samples}

    return {
        metric.name.removeprefix("lockstream_partner_"): by_partner(metric)
        for metric in metrics.collect()
        if not metric.name.endswith("figures_age_seconds")
    }


@asynccontextmanager
async def asking(metrics: ReadingMetrics) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.ensure_future(metrics.run(stop))
    yield
    stop.set()
    async with asyncio.timeout(10):
        await task


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_metrics, "EVERY_S", 0.05)
    monkeypatch.setattr(reading_metrics, "REST_TIMES", 0.1)


async def test_metrics_follow_what_is_delivered_and_read_and_forget_who_is_gone(
    stream: Stream, often: None
) -> None:
    partners = [await add_partner(stream.kafka, stream.settings, "a", "acme")]
    home = partition_of(1, stream.settings.partitions)
    metrics = ReadingMetrics(stream.kafka, stream.topics, lambda: partners)

    def is_shown(name: str, value: float) -> bool:
        return shown(metrics)[name].get("a") == value

    async def two_are_undelivered() -> bool:
        return is_shown("undelivered_events", 2) and is_shown("unread_records", 0)

    async def two_are_unread() -> bool:
        return is_shown("undelivered_events", 0) and is_shown("unread_records", 2)

    async def all_is_read() -> bool:
        return is_shown("unread_records", 0) and is_shown("groups", 1)

    async def nothing_is_left() -> bool:
        return not any(shown(metrics).values())

    async with asking(metrics):
        await stream.publish(created_event(1), used_event(1, 2))
        await eventually(two_are_undelivered)
        async with running(run_fanout, stream.settings):
            records = await stream.until_delivered("a", 2)
            await eventually(two_are_unread)
        found = shown(metrics)
        assert 0 < found["unread_seconds"]["a"] < 60
        retained_s = found["unread_retained_seconds"]["a"]
        assert 30 * 86_400 - 60 < retained_s < 30 * 86_400
        await commit(stream, "a", "a", {home: records[-1].offset + 1})
        await eventually(all_is_read)
        assert shown(metrics)["unread_seconds"] == {"a": 0}
        partners.clear()
        await eventually(nothing_is_left)


async def test_metrics_that_can_not_be_asked_for_are_left_out_and_asked_for_again(
    stream: Stream, often: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    partner = await add_partner(stream.kafka, stream.settings, "a", "acme")
    nowhere = Kafka(
        msgspec.structs.replace(stream.settings, kafka_bootstrap_servers="127.0.0.1:1"), "test"
    )
    metrics = ReadingMetrics(nowhere, stream.topics, lambda: [partner])

    async def is_said() -> bool:
        return "what partners have read is not known" in caplog.text

    async def is_shown() -> bool:
        return "a" in shown(metrics)["groups"]

    with caplog.at_level("INFO"):
        async with asking(metrics):
            await eventually(is_said)
            assert not any(shown(metrics).values())
            metrics._kafka = stream.kafka
            await eventually(is_shown)
            assert "is known again" in caplog.text
    assert caplog.text.count("is not known") == 1
    monkeypatch.setattr(reading_metrics, "KNOWN_S", 0.0)
    assert not any(shown(metrics).values())
