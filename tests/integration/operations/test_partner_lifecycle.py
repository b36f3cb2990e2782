"""Pausing, resuming and removing partners, and how far they are, as we and as others see it."""

import time

import msgspec

from eventlog.groups import delete_group
from eventlog.records import TopicPartition
from eventlog.registry import write_entries
from eventlog.topic_setup import topic_exists
from fanout.role import run_fanout
from operations.partners.changes import pause_partner, remove_partner, set_status
from operations.partners.registration import create_partner
from operations.running.status import read_status
from operations.shared.installation import Installation
from schemas.partner_events import PartnerPosition, decode_envelope
from schemas.registry import Partner
from schemas.topics import partition_of
from tests.examples_of import TIME, created_event, used_event
from tests.integration.fanout.test_fanout import Stream, check_sequences, versions
from tests.integration.kafka_tools import delete_records, end_of, eventually, retained
from tests.integration.roles import running


async def test_a_pause_longer_than_kafka_keeps_offsets_and_records_repeats_and_loses_nothing(
    here: Installation, stream: Stream
) -> None:
    """After 7 days the group's offsets are gone, after 30 what the partner was sent."""
    await create_partner(here, "a", "acme", ("*",), "earliest")
    home = partition_of(1, here.settings.partitions)
    await stream.publish(created_event(1), used_event(1, 2))
    async with running(run_fanout, here.settings):
        await stream.until_delivered("a", 2)
        await pause_partner(here, "a")
        await pause_partner(here, "a")
    await delete_group(here.kafka, here.settings.topics.fanout_group("a"))
    topic = here.settings.topics.partner_events("a")
    await delete_records(here.kafka, topic, home)
    await stream.publish(used_event(1, 3))
    async with running(run_fanout, here.settings):
        await set_status(here, "a", "active")

        async def next_has_come() -> bool:
            found = await retained(here.kafka, topic, home)
            for record in found:
                sequence = PartnerPosition.from_kafka(record.headers).sequence
                assert (decode_envelope(record.value or b"").detail.version, sequence) == (3, 3)
            return len(found) == 1

        await eventually(next_has_come)


async def test_a_pause_need_not_wait_for_the_sessions_of_replicas_with_a_name(
    here: Installation, stream: Stream
) -> None:
    """Such a replica is taken to come back, unless its partner is paused or removed."""
    await create_partner(here, "a", "acme", ("*",), "earliest")
    await stream.publish(created_event(1))
    longer = msgspec.structs.replace(here.settings, session_timeout=60.0)
    async with running(run_fanout, longer, "one"), running(run_fanout, longer, "two"):
        await stream.until_delivered("a", 1)
        # Which gives up after 30 s.
        await pause_partner(here, "a")
        await stream.publish(used_event(1, 2))
        await set_status(here, "a", "active")
        records = await stream.until_delivered("a", 2)
        await remove_partner(here, "a", with_topic=False)
    check_sequences(records)


async def test_a_resumed_partner_goes_on_from_its_output_and_not_from_its_last_pause(
    here: Installation, stream: Stream
) -> None:
    await create_partner(here, "a", "acme", ("*",), "earliest")
    await stream.publish(created_event(1))
    async with running(run_fanout, here.settings):
        await stream.until_delivered("a", 1)
        await pause_partner(here, "a")
        await stream.publish(used_event(1, 2))
        await set_status(here, "a", "active")
        await stream.until_delivered("a", 2)
    await delete_group(here.kafka, here.settings.topics.fanout_group("a"))
    await stream.publish(used_event(1, 3))
    async with running(run_fanout, here.settings):
        records = await stream.until_delivered("a", 3)
    assert versions(records, 1) == [1, 2, 3]
    check_sequences(records)


async def test_a_pause_is_not_believed_once_more_was_written(
    here: Installation, stream: Stream, logged_errors: list[str]
) -> None:
    """Nobody knows then how far it has come, and going on from the pause would repeat."""
    await create_partner(here, "a", "acme", ("*",), "earliest")
    home = partition_of(1, here.settings.partitions)
    await stream.publish(created_event(1))
    async with running(run_fanout, here.settings):
        await stream.until_delivered("a", 1)
        await pause_partner(here, "a")
        await stream.publish(used_event(1, 2))
        await set_status(here, "a", "active")
        await stream.until_delivered("a", 2)
    await delete_group(here.kafka, here.settings.topics.fanout_group("a"))
    topic = here.settings.topics.partner_events("a")
    await delete_records(here.kafka, topic, home)
    end = await end_of(here.kafka, topic, home)

    async def said() -> bool:
        return any("holds no record any more" in line for line in logged_errors)

    async with running(run_fanout, here.settings):
        await eventually(said)
    assert await end_of(here.kafka, topic, home) == end
    logged_errors.clear()


async def lag_as_others_see_it(here: Installation, group: str, topic: str) -> dict[int, int]:
    """Ends of partitions without committed offsets: what tools do that know only offsets."""
    async with (
        here.kafka.offsets_client() as client,
        here.kafka.admin() as admin,
    ):
        ends = await client.high_watermarks(topic, list(range(here.settings.partitions)))
        committed = await admin.group_offsets(group)
    return {p: end - committed[TopicPartition(topic, p)][0] for p, end in ends.items()}


async def test_others_tools_see_no_lag_when_all_is_delivered_and_no_group_of_who_is_removed(
    here: Installation, stream: Stream
) -> None:
    topics = here.settings.topics
    await create_partner(here, "a", "acme", ("*",), "earliest")
    await stream.publish(*(created_event(n) for n in range(1, 9)))
    group = topics.fanout_group("a")

    async def no_lag() -> bool:
        try:
            lag = await lag_as_others_see_it(here, group, topics.lock_events)
        except KeyError:
            return False
        assert min(lag.values()) >= 0
        return not any(lag.values())

    async def groups() -> set[str]:
        async with here.kafka.admin() as admin:
            return {name for name, *_ in await admin._client.list_consumer_groups()}

    async with running(run_fanout, here.settings) as fanout:
        await stream.until_delivered("a", 8)
        await eventually(no_lag)
        await fanout.stop()
        assert await no_lag()
    async with running(run_fanout, here.settings):
        await stream.publish(used_event(1, 2))
        await stream.until_delivered("a", 9)
        assert group in await groups()
        await remove_partner(here, "a", with_topic=False)
        assert group not in await groups()
        assert await topic_exists(here.kafka, topics.partner_events("a"))
        await remove_partner(here, "a", with_topic=True)
    assert not await topic_exists(here.kafka, topics.partner_events("a"))


async def test_the_status_of_fifty_partners_is_asked_for_at_once(
    here: Installation, stream: Stream
) -> None:
    """Each stands before a marker that nobody waits for; 3 s is the promise for an idle system on
    a machine of its own, half a second for each marker was what it took before."""
    await stream.publish(*(created_event(n) for n in range(1, 9)))
    topics, numbers = here.settings.topics, list(range(here.settings.partitions))
    async with here.kafka.offsets_client() as client:
        ends = await client.high_watermarks(topics.lock_events, numbers)
    behind = tuple(ends[p] - 1 for p in numbers)
    entries = [
        Partner(id=f"p{n}", org_id="acme", types=("*",), start_offsets=behind, created_at=TIME)
        for n in range(49)
    ]
    late = msgspec.structs.replace(entries[0], id="late", start_offsets=(0,) * len(numbers))
    await write_entries(here.kafka, topics.registry, [*entries, late])
    started_at = time.monotonic()
    found = await read_status(here)
    took = time.monotonic() - started_at
    lags = {stage.name: stage.lag for stage in found.stages}
    assert lags.pop("partner late") == sum(ends.values())
    assert set(lags.values()) == {0}
    assert len(lags) == 50
    assert took < 10
