"""A partner gets events once more, in a topic of their own: each once, to the end, and no other."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from eventlog.groups import group_checkpoints, group_members
from eventlog.records import Record
from eventlog.topic_setup import topic_exists
from fanout import replay_partition
from fanout.decisions import delivers
from fanout.replay_partition import ReplayPartition
from fanout.role import run_fanout
from operations.partners import replay_progress
from operations.partners.changes import remove_partner, set_status
from operations.partners.registration import create_partner
from operations.partners.replay_progress import follow_replay
from operations.partners.replays import (
    MOST_OF_PARTNER,
    cancel_replay,
    read_replays,
    register_replay,
)
from operations.partners.subscription import change_types
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError, Unavailable
from schemas.lock_events import EventHeaders
from schemas.partner_events import PartnerPosition
from schemas.primitives import write_time
from schemas.registry import Replay
from schemas.replay_events import decode_replay_ended, is_replay_end
from schemas.topics import partition_of
from tests.examples_of import created_event, used_event
from tests.integration.fanout.held_link import held_link
from tests.integration.fanout.test_fanout import Stream, check_sequences
from tests.integration.kafka_tools import eventually, positions_of, read_all, shares, write_raw
from tests.integration.operations.command_line import end_of, lockstream, started
from tests.integration.roles import running


@pytest.fixture
async def partner(here: Installation, stream: Stream) -> str:
    """It is entitled to 31 events of the 42 that there are, in all partitions but one perhaps."""
    await create_partner(here, "a", "acme", ("*",), "earliest")
    await stream.publish(created_event(1), *(used_event(1, n) for n in range(2, 22)))
    await stream.publish(*(created_event(n, "bolt") for n in range(100, 111)))
    await stream.publish(*(created_event(n) for n in range(2, 12)))
    return "a"


class Gate:
    """Lets replays decide on ``count`` batches more, or on all once it is open."""

    def __init__(self) -> None:
        self.count, self.waits = 0, asyncio.Event()
        self.open = asyncio.Event()

    async def pass_(self) -> None:
        if self.count > 0:
            self.count -= 1
            return
        self.waits.set()
        await self.open.wait()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate, process = Gate(), ReplayPartition.process

    async def held(partition: ReplayPartition, records: Sequence[Record]) -> object:
        await gate.pass_()
        return await process(partition, records)

    monkeypatch.setattr(replay_partition, "AT_ONCE", 3)
    monkeypatch.setattr(ReplayPartition, "process", held)
    return gate


async def replay_all(here: Installation, types: tuple[str, ...] | None = None) -> Replay:
    return await register_replay(here, "a", "earliest", "now", types)


async def entry_of(here: Installation, replay: Replay) -> Replay:
    entry = (await here.read_registry()).replay(replay.partner_id, replay.number)
    assert entry is not None
    return entry


async def until_ended(here: Installation, replay: Replay) -> Replay:
    async def has_ended() -> bool:
        return (await entry_of(here, replay)).status == "ended"

    await eventually(has_ended)
    return await entry_of(here, replay)


async def sent(here: Installation, replay: Replay) -> list[Record]:
    topic = here.settings.topics.partner_replay("a", replay.number)
    return await read_all(here.kafka, topic, here.settings.partitions)


async def check_whole(here: Installation, replay: Replay) -> Replay:
    """It holds what its stretch entitles to, each once and in order, and one end marker behind."""
    ended = await until_ended(here, replay)
    topics = here.settings.topics
    positions = await positions_of(here.kafka, topics.registry)
    events = await read_all(here.kafka, topics.lock_events, here.settings.partitions)
    records = await sent(here, replay)
    check_sequences(records)
    topic = topics.partner_replay("a", replay.number)
    for p in topics.numbers:
        due = [
            e.offset
            for e in events
            if e.partition == p
            and replay.start_offsets[p] <= e.offset < replay.end_offsets[p]
            and delivers(EventHeaders.from_kafka(e.headers), replay.as_partner, p, e.offset)
        ]
        *own, marker = [r for r in records if r.partition == p]
        assert [positions.read(topic, r).source_offset for r in own] == due
        assert not any(is_replay_end(r.headers) for r in own)
        assert is_replay_end(marker.headers)
        assert marker.key is None
        detail = decode_replay_ended(marker.value or b"").detail
        told = (detail.partner_id, detail.replay, detail.partition, detail.count)
        assert told == ("a", replay.number, p, len(due))
        assert ended.counts[p] == len(due)
    return ended


@asynccontextmanager
async def fanout(here: Installation) -> AsyncIterator[None]:
    async with running(run_fanout, here.settings):
        yield


async def test_a_replay_is_the_same_records_with_an_end_and_the_live_topic_goes_on(
    here: Installation, stream: Stream, partner: str
) -> None:
    async with fanout(here):
        live = await stream.until_delivered(partner, 31)
        replay = await replay_all(here)
        await stream.publish(used_event(1, 22))
        ended = await check_whole(here, replay)
        again = [r for r in await sent(here, replay) if not is_replay_end(r.headers)]
        assert [(r.partition, r.key, r.value) for r in again] == [
            (r.partition, r.key, r.value) for r in live
        ]
        delivered = await stream.until_delivered(partner, 32)
    assert (sum(ended.counts), ended.number) == (31, 1)
    assert ended.ended_at is not None
    assert len(delivered) == 32
    check_sequences(delivered)


async def test_a_fanout_that_is_abandoned_anywhere_repeats_and_loses_nothing(
    here: Installation, stream: Stream, partner: str, gate: Gate
) -> None:
    replay = await replay_all(here)
    for _ in range(3):
        gate.count = 3
        gate.waits.clear()
        async with running(run_fanout, here.settings) as one:
            async with asyncio.timeout(30):
                await gate.waits.wait()
            await one.abandon()
    gate.open.set()
    assert (await entry_of(here, replay)).status == "running"
    async with fanout(here):
        await check_whole(here, replay)


async def test_a_fanout_that_dies_before_it_notes_the_end_leaves_that_to_the_next(
    here: Installation, partner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = await replay_all(here)
    reached = asyncio.Event()

    async def never(*_: object) -> bool:
        reached.set()
        await asyncio.Event().wait()
        return False

    topics = here.settings.topics

    async def all_markers_stand() -> bool:
        return sum(is_replay_end(r.headers) for r in await sent(here, replay)) == topics.partitions

    with monkeypatch.context() as patch:
        patch.setattr("fanout.role.end_replay", never)
        async with running(run_fanout, here.settings) as one:
            await eventually(all_markers_stand)
            async with asyncio.timeout(10):
                await reached.wait()
            await one.abandon()
    assert (await entry_of(here, replay)).status == "running"
    async with fanout(here):
        await check_whole(here, replay)


async def test_fanouts_share_a_replay_and_it_ends_once(
    here: Installation, partner: str, gate: Gate
) -> None:
    group = here.settings.topics.replay_group("a", 1)
    async with fanout(here), fanout(here):
        replay = await replay_all(here)
        await eventually(lambda: shares(here.kafka, group, 2, here.settings.partitions))
        gate.open.set()
        await check_whole(here, replay)

        async def nobody_has_it() -> bool:
            return not (await group_checkpoints(here.kafka, group, "")) and not await shares(
                here.kafka, group, 2, here.settings.partitions
            )

        await eventually(nobody_has_it)
    registry = here.settings.topics.registry
    ends = [
        r
        for r in await read_all(here.kafka, registry, 1)
        if r.key == b"replay/a/1" and b'"ended"' in (r.value or b"")
    ]
    assert len(ends) == 1


async def test_a_replay_goes_by_the_types_that_held_where_each_event_stands_or_by_its_own(
    here: Installation, stream: Stream, partner: str
) -> None:
    await change_types(here, partner, ("TempKeyUsed",))
    await stream.publish(created_event(12), used_event(1, 22))
    as_entitled = await replay_all(here)
    of_its_own = await replay_all(here, ("LockCreated",))
    await change_types(here, partner, ("*",))
    async with fanout(here):
        assert sum((await check_whole(here, as_entitled)).counts) == 32
        assert sum((await check_whole(here, of_its_own)).counts) == 12
        live = await stream.until_delivered(partner, 32)
    assert len(live) == 32


async def test_a_stretch_has_its_ends_by_time_and_by_offsets(
    here: Installation, stream: Stream, partner: str
) -> None:
    topics = here.settings.topics
    home = partition_of(1, topics.partitions)
    events = await read_all(here.kafka, topics.lock_events, topics.partitions)
    moment = write_time(datetime.now(UTC))
    later = [e for e in events if e.partition == home]
    offsets = ["0"] * topics.partitions
    offsets[home] = str(later[5].offset)
    to = list(offsets)
    to[home] = str(later[9].offset)
    some = await register_replay(
        here, partner, f"offsets:{','.join(offsets)}", f"offsets:{','.join(to)}", None
    )
    await stream.publish(used_event(1, 22), used_event(1, 23))
    since = await register_replay(here, partner, moment, "now", None)
    until = await register_replay(here, partner, "earliest", moment, None)
    async with fanout(here):
        assert sum((await check_whole(here, some)).counts) == 4
        assert sum((await check_whole(here, since)).counts) == 2
        assert sum((await check_whole(here, until)).counts) == 31


async def test_a_cancelled_replay_is_written_no_more_and_its_topic_stays_or_goes(
    here: Installation, partner: str, gate: Gate
) -> None:
    topics = here.settings.topics
    first, second = topics.partner_replay("a", 1), topics.partner_replay("a", 2)
    async with fanout(here):
        for number, with_topic in ((1, False), (2, True)):
            gate.count = 2
            gate.waits.clear()
            replay = await replay_all(here)
            assert replay.number == number
            async with asyncio.timeout(30):
                await gate.waits.wait()
            cancelling = asyncio.create_task(
                cancel_replay(here, "a", number, with_topic=with_topic)
            )

            async def is_cancelled(replay: Replay = replay) -> bool:
                return (await entry_of(here, replay)).status == "cancelled"

            await eventually(is_cancelled)
            gate.open.set()
            await cancelling
            gate.open.clear()
        assert await topic_exists(here.kafka, first)
        assert not await topic_exists(here.kafka, second)
        # Another time, after a failure perhaps: nothing is left to be done.
        cancelled = await cancel_replay(here, "a", 1, with_topic=False)
        before = await sent(here, cancelled)
        gate.open.set()
        third = await replay_all(here)
        assert third.number == 3
        await check_whole(here, third)
        assert await sent(here, cancelled) == before
    states = await read_replays(here, "a")
    assert [(s.entry.number, s.entry.status, s.sent) for s in states] == [
        (1, "cancelled", sum(not is_replay_end(r.headers) for r in before)),
        (2, "cancelled", None),
        (3, "ended", 31),
    ]
    with pytest.raises(ConfigurationError, match="replay 3 of a has ended already"):
        await cancel_replay(here, "a", 3, with_topic=False)
    assert (await cancel_replay(here, "a", 3, with_topic=True)).status == "ended"
    assert not await topic_exists(here.kafka, topics.partner_replay("a", 3))
    with pytest.raises(ConfigurationError, match="has no replay 4"):
        await cancel_replay(here, "a", 4, with_topic=False)


async def test_a_cancelled_replay_is_served_by_nobody_when_that_is_told(
    here: Installation, partner: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by no fan-out that is slow to hear of it."""
    link = held_link(monkeypatch)
    group = here.settings.topics.replay_group("a", 1)
    async with fanout(here):
        replay = await replay_all(here)
        async with asyncio.timeout(30):
            await gate.waits.wait()
        await link.close()
        cancelling = asyncio.create_task(cancel_replay(here, "a", 1, with_topic=False))

        async def is_cancelled() -> bool:
            return (await entry_of(here, replay)).status == "cancelled"

        await eventually(is_cancelled)
        assert await group_members(here.kafka, group)
        gate.open.set()
        await asyncio.wait((cancelling,), timeout=1)
        assert not cancelling.done()
        link.open.set()
        await cancelling
        assert await group_members(here.kafka, group) == []


async def test_a_removed_partners_replays_end_and_their_topics_go_with_its_own(
    here: Installation, partner: str, gate: Gate
) -> None:
    topics = here.settings.topics
    async with fanout(here):
        gate.open.set()
        ended = await replay_all(here)
        await until_ended(here, ended)
        gate.open.clear()
        running_one = await replay_all(here)
        removing = asyncio.create_task(remove_partner(here, "a", with_topic=False))

        async def is_stopped() -> bool:
            return (await entry_of(here, running_one)).status == "cancelled"

        await eventually(is_stopped)
        gate.open.set()
        await removing
        for number in (1, 2):
            assert await topic_exists(here.kafka, topics.partner_replay("a", number))
        await remove_partner(here, "a", with_topic=True)
        for number in (1, 2):
            assert not await topic_exists(here.kafka, topics.partner_replay("a", number))
    assert (await entry_of(here, ended)).status == "ended"
    with pytest.raises(ConfigurationError, match="there is no partner a"):
        await replay_all(here)
    await create_partner(here, "a", "acme", ("*",), "earliest")
    assert (await replay_all(here)).number == 3


async def test_what_a_former_partner_was_replayed_is_not_left_to_the_next_of_its_id(
    here: Installation, stream: Stream, partner: str
) -> None:
    """Whose topic is empty: it was paused, and may be another organisation's now."""
    await set_status(here, partner, "paused")
    async with fanout(here):
        await until_ended(here, await replay_all(here))
        await remove_partner(here, partner, with_topic=False)
    with pytest.raises(ConfigurationError, match=r"replay\.1 is left from an earlier partner"):
        await create_partner(here, "a", "acme", ("*",), "earliest")
    await remove_partner(here, partner, with_topic=True)
    await create_partner(here, "a", "acme", ("*",), "earliest")


async def test_a_paused_partner_may_be_sent_events_once_more(
    here: Installation, stream: Stream, partner: str
) -> None:
    await set_status(here, partner, "paused")
    async with fanout(here):
        await check_whole(here, await replay_all(here))
    assert await stream.delivered(partner) == []


async def test_what_can_not_be_replayed_is_told_and_registers_nothing(
    here: Installation, stream: Stream, partner: str
) -> None:
    for begin, end, told in (
        ("now", "now", "there is nothing from now up to now"),
        ("offsets:0,0", "now", "does not name 3 offsets, one for each partition"),
        ("offsets:0,0,9999", "now", "ends at"),
        ("earliest", "offsets:0,x,0", "--to: 'offsets:0,x,0' does not name 3 offsets"),
        ("yesterday", "now", "--from: 'yesterday' is none of"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            await register_replay(here, partner, begin, end, None)
    with pytest.raises(ConfigurationError, match="there is no partner nobody"):
        await register_replay(here, "nobody", "earliest", "now", None)
    with pytest.raises(ConfigurationError, match="there is no partner nobody"):
        await read_replays(here, "nobody")
    assert await read_replays(here, partner) == []
    for _ in range(MOST_OF_PARTNER):
        await replay_all(here)
    with pytest.raises(ConfigurationError, match="4 replays of a run already"):
        await replay_all(here)
    await cancel_replay(here, partner, 2, with_topic=True)
    assert (await replay_all(here)).number == 5


async def test_an_end_marker_that_no_fanout_wrote_stops_its_partition(
    here: Installation, stream: Stream, partner: str, gate: Gate, logged_errors: list[str]
) -> None:
    replay = await replay_all(here)
    topic = here.settings.topics.partner_replay("a", 1)
    headers = (("ce_type", b"lockstream.ReplayEnded"), ("position", b"x"), ("sequence", b"1"))
    await write_raw(here.kafka, topic, 0, None, b"{}", headers)
    gate.open.set()

    async def is_said() -> bool:
        return any("none of this installation's" in line for line in logged_errors)

    async with fanout(here):
        await eventually(is_said)
        await stream.until_delivered(partner, 31)
    assert (await entry_of(here, replay)).status == "running"
    logged_errors.clear()


async def test_a_replay_does_not_show_where_its_events_stand(
    here: Installation, partner: str
) -> None:
    async with fanout(here):
        replay = await replay_all(here)
        await until_ended(here, replay)
    for record in await sent(here, replay):
        assert PartnerPosition.from_kafka(record.headers).source_offset is None
        if is_replay_end(record.headers):
            end = str(replay.end_offsets[record.partition]).encode()
            assert end not in (value for _, value in record.headers)


# -- as verbs --------------------------------------------------------------------------------------


async def test_the_verb_waits_for_the_end_and_tells_what_there_is(
    here: Installation, stream: Stream, partner: str
) -> None:
    ask = ("partner", "replay", "--id", "a", "--from", "earliest")
    async with fanout(here):
        done = await lockstream(here, *ask, "--types", "LockCreated", "--json")
    assert done.code == 0
    assert (done.json["status"], done.json["events"], done.json["replay"]) == ("ended", 11, 1)
    assert "replay 1 of a: " in done.stderr
    assert done.json["topic"] == here.settings.topics.partner_replay("a", 1)
    asked = await lockstream(here, *ask, "--no-wait")
    assert asked.code == 0
    assert "cancel --id a --replay 2" in asked.stderr
    listed = await lockstream(here, "partner", "replays", "--id", "a", "--json")
    assert [(one["replay"], one["status"], one["events"]) for one in listed.json] == [
        (1, "ended", 11),
        (2, "running", 0),
    ]
    table = await lockstream(here, "partner", "replays", "--id", "a")
    assert table.stdout.decode().count("\n") == 3
    cancelled = await lockstream(here, "partner", "cancel", "--id", "a", "--replay", "2")
    assert cancelled.code == 0
    assert (
        "is kept for 7 days; partitions that were not at their end have no end marker"
        in cancelled.stderr
    )
    again = await lockstream(here, "partner", "cancel", "--id", "a", "--replay", "7", "--json")
    assert (again.code, again.stdout) == (2, b"")
    assert again.stderr == (
        "lockstream: partner a has no replay 7; `lockstream partner replays --id a` lists them\n"
    )


async def test_a_replay_that_nobody_looks_on_at_any_more_goes_on(
    here: Installation, partner: str
) -> None:
    process = await started(here, "partner", "replay", "--id", "a", "--from", "earliest")
    assert process.stderr is not None
    async with asyncio.timeout(30):
        assert b"replay 1 of a goes to " in await process.stderr.readline()

    async def is_registered() -> bool:
        return bool(await read_replays(here, "a"))

    await eventually(is_registered)
    process.send_signal(signal.SIGINT)
    done = await end_of(process)
    assert (done.code, done.stdout) == (130, b"")
    assert "It stays registered, and goes on: `lockstream partner replays --id a`" in done.stderr
    async with fanout(here):
        (state,) = await read_replays(here, "a")
        await check_whole(here, state.entry)


async def test_a_replay_that_nobody_serves_is_not_waited_for_for_ever(
    here: Installation, partner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_progress, "STALLED_S", 0.1)
    monkeypatch.setattr(replay_progress, "LOOK_S", 0.2)
    replay = await replay_all(here)
    with pytest.raises(Unavailable, match=r"has not come on.*is a fan-out running.*goes on"):
        await follow_replay(here, replay)
    assert (await entry_of(here, replay)).status == "running"
    await cancel_replay(here, "a", 1, with_topic=True)
    with pytest.raises(ConfigurationError, match="replay 1 of a was cancelled"):
        await follow_replay(here, replay)
