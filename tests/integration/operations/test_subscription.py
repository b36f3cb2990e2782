"""Changed types hold from the told offsets on: not one event sooner, and not one later, whatever
fan-outs know at that moment."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventlog.groups import group_checkpoints
from eventlog.kafka import Kafka
from eventlog.stage import stage as stage_module
from fanout.decisions import delivers
from fanout.role import run_fanout
from operations.partners import subscription
from operations.partners.changes import pause_partner, remove_partner, set_status
from operations.partners.registration import create_partner
from operations.partners.subscription import Subscription, change_types
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError, KafkaUnavailable
from runtime.waiting import within
from schemas.lock_events import EventHeaders
from schemas.registry import Partner
from schemas.topics import LockTopics, partition_of
from tests.examples_of import created_event, used_event
from tests.integration.fanout.held_link import HeldLink, held_link
from tests.integration.fanout.test_fanout import Stream, check_sequences
from tests.integration.kafka_tools import end_of, eventually, positions_of, read_all
from tests.integration.operations.command_line import lockstream
from tests.integration.roles import running

CREATED, USED = ("LockCreated",), ("TempKeyUsed",)


@pytest.fixture
async def link(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HeldLink]:
    held = held_link(monkeypatch)
    yield held
    held.open.set()


async def entitled(stream: Stream, entry: Partner) -> set[tuple[int, int]]:
    events = await read_all(stream.kafka, stream.topics.lock_events, stream.settings.partitions)
    return {
        (event.partition, event.offset)
        for event in events
        if delivers(EventHeaders.from_kafka(event.headers), entry, event.partition, event.offset)
    }


async def sent(stream: Stream, partner_id: str = "a") -> list[tuple[int, int]]:
    """Where the events stood that the partner was sent."""
    positions = await positions_of(stream.kafka, stream.topics.registry)
    topic = stream.topics.partner_events(partner_id)
    records = await stream.delivered(partner_id)
    return [(r.partition, positions.read(topic, r).source_offset) for r in records]


async def until_exact(stream: Stream, entry: Partner) -> None:
    """Returns once the partner has what it is entitled to, by what was told, and nothing else."""
    due = await entitled(stream, entry)

    async def has_all() -> bool:
        there = await sent(stream)
        assert set(there) <= due, "it was sent what the told offsets give it no right to"
        return set(there) == due

    await eventually(has_all)
    assert len(await sent(stream)) == len(due)
    check_sequences(await stream.delivered("a"))


async def test_new_types_hold_from_the_told_offsets_on_and_the_old_ones_before(
    here: Installation, stream: Stream
) -> None:
    await create_partner(here, "a", "acme", CREATED, "earliest")
    home = partition_of(1, here.settings.partitions)
    async with running(run_fanout, here.settings):
        await stream.publish(created_event(1), used_event(1, 2))
        await stream.until_delivered("a", 1)
        end = await end_of(here.kafka, stream.topics.lock_events, home)
        changed = await change_types(here, "a", USED)
        assert changed.since[home] == end
        assert (await here.read_registry()).partner("a") == changed.entry
        await stream.publish(used_event(1, 3), created_event(2), used_event(1, 4))
        await until_exact(stream, changed.entry)
        again = await change_types(here, "a", ("*",))
        await stream.publish(used_event(1, 5), created_event(3))
        await until_exact(stream, again.entry)
    assert [change.types for change in again.entry.earlier] == [CREATED, USED]
    assert again.entry.earlier[0].until == changed.since


async def test_a_change_to_what_it_gets_already_changes_nothing_and_tells_since_when(
    here: Installation,
) -> None:
    added = await create_partner(here, "a", "acme", ("LockCreated", "TempKeyUsed"), "earliest")
    same = await change_types(here, "a", ("TempKeyUsed", "LockCreated"))
    assert same == Subscription(added, added.start_offsets)
    changed = await change_types(here, "a", USED)
    assert await change_types(here, "a", USED) == changed


async def test_a_fanout_that_is_slow_to_see_the_registry_delivers_nothing_by_the_old_types(
    here: Installation, stream: Stream, link: HeldLink
) -> None:
    await create_partner(here, "a", "acme", CREATED, "earliest")
    async with running(run_fanout, here.settings):
        await stream.publish(created_event(1))
        await stream.until_delivered("a", 1)
        await link.close()
        changed = await change_types(here, "a", USED)
        link.asked.clear()
        await stream.publish(used_event(1, 2), created_event(2), used_event(1, 3))

        async def has_asked_or_delivered() -> bool:
            return link.asked.is_set() or len(await stream.delivered("a")) > 1

        await stream.publish(*(created_event(n) for n in range(3, 12)))
        await eventually(has_asked_or_delivered)
        assert len(await stream.delivered("a")) == 1
        link.open.set()
        await until_exact(stream, changed.entry)


async def test_what_a_slow_fanout_passed_over_by_the_old_types_is_delivered_by_the_new_ones(
    here: Installation, stream: Stream, link: HeldLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes nothing, so it does not learn that it is fenced, and its checkpoints move on."""
    monkeypatch.setattr(stage_module, "CHECKPOINT_EVERY_S", 0.1)
    await create_partner(here, "a", "acme", CREATED, "earliest")
    home = partition_of(1, here.settings.partitions)
    topics = here.settings.topics
    async with running(run_fanout, here.settings):
        await stream.publish(created_event(1))
        await stream.until_delivered("a", 1)
        await link.close()
        changed = await change_types(here, "a", USED)
        await stream.publish(used_event(1, 2), used_event(1, 3))
        end = await end_of(here.kafka, topics.lock_events, home)

        async def was_passed_over() -> bool:
            noted = await group_checkpoints(
                here.kafka, topics.fanout_group("a"), topics.lock_events
            )
            return home in noted and noted[home].next_offset >= end

        await eventually(was_passed_over)
        link.open.set()
        await until_exact(stream, changed.entry)
    assert len(await stream.delivered("a")) == 3


async def test_a_fanout_that_goes_on_until_it_is_fenced_is_before_the_told_offsets(
    here: Installation, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = subscription._fence

    async def fenced_late(kafka: Kafka, ids: list[str]) -> None:
        await stream.publish(created_event(2))
        await stream.until_delivered("a", 2)
        await fence(kafka, ids)

    monkeypatch.setattr(subscription, "_fence", fenced_late)
    await create_partner(here, "a", "acme", CREATED, "earliest")
    async with running(run_fanout, here.settings):
        await stream.publish(created_event(1))
        await stream.until_delivered("a", 1)
        changed = await change_types(here, "a", USED)
        await stream.publish(used_event(2, 2), created_event(3))
        await until_exact(stream, changed.entry)


async def test_a_fanout_that_was_fenced_waits_until_the_new_types_stand(
    here: Installation, stream: Stream, link: HeldLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = subscription._ends

    async def told_early(kafka: Kafka, topics: LockTopics) -> tuple[int, ...]:
        told = await ends(kafka, topics)
        link.asked.clear()
        link.answered.clear()
        await stream.publish(*(created_event(n) for n in range(2, 12)))
        await within(link.asked.wait(), 5)
        with pytest.raises(TimeoutError):
            await within(link.answered.wait(), 1)
        return told

    monkeypatch.setattr(subscription, "_ends", told_early)
    await create_partner(here, "a", "acme", CREATED, "earliest")
    async with running(run_fanout, here.settings):
        await stream.publish(created_event(1))
        await stream.until_delivered("a", 1)
        changed = await change_types(here, "a", USED)
        await stream.publish(used_event(1, 2))
        await until_exact(stream, changed.entry)
    assert len(await stream.delivered("a")) == 2


async def test_a_change_that_fails_amid_leaves_all_as_it_was(
    here: Installation, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(kafka: Kafka, topics: LockTopics) -> tuple[int, ...]:
        raise KafkaUnavailable("it is away")

    added = await create_partner(here, "a", "acme", CREATED, "earliest")
    async with running(run_fanout, here.settings):
        await stream.publish(created_event(1))
        await stream.until_delivered("a", 1)
        with monkeypatch.context() as patch:
            patch.setattr(subscription, "_ends", away)
            with pytest.raises(KafkaUnavailable, match="it is away"):
                await change_types(here, "a", USED)
        async with asyncio.timeout(5):
            # Long before the broker gives an abandoned transaction up.
            assert (await here.read_registry()).partner("a") == added
        await stream.publish(created_event(2), used_event(1, 2))
        await until_exact(stream, added)
        changed = await change_types(here, "a", USED)
        await stream.publish(used_event(1, 3))
        await until_exact(stream, changed.entry)


async def test_the_types_of_a_paused_partner_change_where_the_log_ends(
    here: Installation, stream: Stream
) -> None:
    await create_partner(here, "a", "acme", CREATED, "earliest")
    async with running(run_fanout, here.settings):
        await stream.publish(created_event(1))
        await stream.until_delivered("a", 1)
        await pause_partner(here, "a")
        await stream.publish(created_event(2), used_event(1, 2))
        await change_types(here, "a", USED)
        await stream.publish(used_event(1, 3), created_event(3))
        await set_status(here, "a", "active")
        entry = (await here.read_registry()).partner("a")
        assert entry is not None
        await until_exact(stream, entry)


async def test_what_can_not_be_changed_is_told(here: Installation) -> None:
    with pytest.raises(ConfigurationError, match="there is no partner nobody"):
        await change_types(here, "nobody", ("*",))
    await create_partner(here, "a", "acme", CREATED, "earliest")
    await remove_partner(here, "a", with_topic=False)
    with pytest.raises(ConfigurationError, match="there is no partner a"):
        await change_types(here, "a", USED)


async def test_the_verb_tells_the_offsets(here: Installation, stream: Stream) -> None:
    await create_partner(here, "a", "acme", CREATED, "earliest")
    await stream.publish(created_event(1))
    home = partition_of(1, here.settings.partitions)
    end = await end_of(here.kafka, stream.topics.lock_events, home)
    done = await lockstream(here, "partner", "set", "a", "--types", "TempKeyUsed", "--json")
    assert (done.code, done.json["types"]) == (0, ["TempKeyUsed"])
    assert done.json["typesSince"][home] == end
    done = await lockstream(here, "partner", "set", "a", "--types", "TempKeyUsed")
    assert done.code == 0
    rows = [line.split() for line in done.stdout.decode().splitlines()[1:]]
    assert rows[home] == [str(home), str(end)]
