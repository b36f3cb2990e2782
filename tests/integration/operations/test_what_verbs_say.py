"""Verbs do what they say: on a real registry, real topics and a real read model."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from eventlog.registry import read_registry
from eventlog.topic_setup import topic_exists
from operations.locks.creation import conflict, ensure_lock
from operations.locks.files import LockLine
from operations.organizations.key_rotation import Rotation
from operations.organizations.keys import create_key, revoke_key, rotate_keys
from operations.partners.changes import remove_partner, set_status
from operations.partners.registration import create_partner
from operations.rebuild import rebuild_read_model
from operations.replay.verbs import _chosen
from operations.running.status import read_status
from operations.shared.installation import Installation
from operations.shared.start_points import read_start, start_offsets
from projector.role import run_projector
from read_model.fold import CommittedEvent, Stretch
from read_model.rows import LockRow, ParkedRow
from read_model.store import ReadModel
from runtime.errors import ConfigurationError, Unavailable
from schemas.api_keys import hash_key
from schemas.lock_events import encode_event
from schemas.primitives import event_id_of_lock_creation, read_time, write_time
from schemas.registry import Partner
from schemas.topics import partition_of
from tests.examples_of import LOCK_UUID, TIME, created_event, lock_created, used_event
from tests.integration.fanout.test_fanout import Stream
from tests.integration.kafka_tools import (
    delete_records,
    end_of,
    eventually,
    read_all,
    write_facts,
    write_raw,
)
from tests.integration.roles import running


async def add(here: Installation, begin: str = "earliest") -> Partner:
    return await create_partner(here, "crm", "acme", ("*",), begin)


async def test_a_partner_begins_at_the_time_that_it_is_added_from(here: Installation) -> None:
    stream, topics = Stream(here.kafka, here.settings), here.settings.topics
    for event in (created_event(), used_event(), used_event(version=3)):
        await stream.publish(event)
    records = await read_all(here.kafka, topics.lock_events, here.settings.partitions)
    second, third = records[1:]
    assert second.timestamp_ms < third.timestamp_ms
    moment = datetime.fromtimestamp(third.timestamp_ms / 1000, UTC)
    assert (await add(here, write_time(moment))).start_offsets[third.partition] == third.offset


async def test_a_removed_partner_is_not_resumed(here: Installation) -> None:
    await add(here)
    await remove_partner(here, "crm", with_topic=False)
    for status in ("active", "paused"):
        with pytest.raises(ConfigurationError, match="there is no partner crm"):
            await set_status(here, "crm", status)


async def test_a_topic_that_was_left_is_not_given_to_the_next_partner(here: Installation) -> None:
    await add(here)
    own = here.settings.topics.partner_events("crm")
    await write_raw(here.kafka, own, 0, b"7", b"delivered once")
    await remove_partner(here, "crm", with_topic=False)
    assert await topic_exists(here.kafka, own)
    with pytest.raises(ConfigurationError, match="left from an earlier partner"):
        await add(here)
    await remove_partner(here, "crm", with_topic=True)
    assert not await topic_exists(here.kafka, own)
    await add(here)


async def test_the_first_revocation_of_a_key_counts(here: Installation) -> None:
    entry, _ = await create_key(here, "acme", None)
    first = await revoke_key(here, entry.key_id)
    again = await revoke_key(here, entry.key_id)
    assert first.revoked_at is not None
    assert again.revoked_at == first.revoked_at


async def test_a_rebuild_leaves_nothing_that_the_log_does_not_hold(here: Installation) -> None:
    stream = Stream(here.kafka, here.settings)
    await stream.publish(created_event(1))
    forged = created_event(7)
    stretch = Stretch(
        partition_of(7, here.settings.partitions),
        0,
        1,
        events=[CommittedEvent(0, 0, forged, encode_event(forged))],
    )
    await here.read_model.apply([stretch])
    rebuilt = await rebuild_read_model(here)
    assert rebuilt.events == 1
    assert set(await here.read_model.locks([1, 7])) == {1}
    assert await here.read_model.event(forged.event_id) is None


def test_one_partition_is_replayed_where_one_is_named() -> None:
    assert _chosen(None, 3) == [0, 1, 2]
    assert _chosen(2, 3) == [2]
    with pytest.raises(ConfigurationError, match="partitions 0 to 2"):
        _chosen(3, 3)


async def starts(here: Installation, text: str) -> dict[int, int]:
    start = read_start("--from", text, datetime.now(UTC))
    numbers = list(range(here.settings.partitions))
    async with here.kafka.offsets_client() as client:
        return await start_offsets(
            client, here.settings.topics.lock_events, numbers, start, "--from"
        )


async def test_a_start_is_where_its_words_say_and_never_before_what_retention_has_left(
    here: Installation,
) -> None:
    stream, topics = Stream(here.kafka, here.settings), here.settings.topics
    for event in (created_event(), used_event(), used_event(version=3)):
        await stream.publish(event)
    home = partition_of(7, here.settings.partitions)
    others = {p: 0 for p in range(here.settings.partitions) if p != home}
    records = await read_all(here.kafka, topics.lock_events, here.settings.partitions)
    second = records[1].offset
    end = await end_of(here.kafka, topics.lock_events, home)
    assert await starts(here, "earliest") == {home: 0, **others}
    assert await starts(here, "now") == {home: end, **others}
    assert await starts(here, f"offset:{second}") == {home: second, **others}
    assert await starts(here, f"offset:{end}") == {home: end, **others}
    with pytest.raises(ConfigurationError, match=f"ends at {end}"):
        await starts(here, f"offset:{end + 1}")
    assert (await starts(here, "1969-12-31"))[home] == 0
    await delete_records(here.kafka, topics.lock_events, home, second)
    for text in ("earliest", "offset:0", "1969-12-31"):
        assert await starts(here, text) == {home: second, **others}


async def test_a_partner_is_added_once_and_its_topic_is_there(here: Installation) -> None:
    added = await add(here, "now")
    assert (added.org_id, added.types, added.status) == ("acme", ("*",), "active")
    with pytest.raises(ConfigurationError, match="partner crm exists already"):
        await add(here)
    assert await topic_exists(here.kafka, here.settings.topics.partner_events("crm"))


async def test_a_new_key_belongs_to_the_organisation_of_the_one_that_ends(
    here: Installation,
) -> None:
    old, _ = await create_key(here, "acme", None)
    other, _ = await create_key(here, "acme", None)
    wish = Rotation(None, old.key_id, timedelta(days=7))
    new, secret, ending = await rotate_keys(here, wish)
    registry = await read_registry(here.kafka, here.settings.topics.registry)
    assert registry.api_key(new.key_id) == new
    assert (new.org_id, new.not_after, new.sha256) == ("acme", None, hash_key(secret))
    assert [entry.key_id for entry in ending] == [old.key_id]
    assert registry.api_key(old.key_id) == ending[0]
    assert ending[0].not_after is not None
    assert registry.api_key(other.key_id) == other


async def test_a_key_ends_when_it_was_said_to(here: Installation) -> None:
    before = datetime.now(UTC)
    entry, _ = await create_key(here, "acme", "12h")
    assert entry.not_after is not None
    lives = read_time(entry.not_after) - before
    # It is written to the millisecond.
    assert abs(lives - timedelta(hours=12)) < timedelta(minutes=2)
    registry = await read_registry(here.kafka, here.settings.topics.registry)
    assert registry.api_key(entry.key_id) == entry


async def test_a_rebuild_that_another_one_overtakes_says_so(here: Installation) -> None:
    await Stream(here.kafka, here.settings).publish(created_event(1))

    class Overtaken(ReadModel):
        async def apply(self, stretches: Sequence[Stretch]) -> None:
            await self.reset()
            await super().apply(stretches)

    model = Overtaken(here.read_model._database, here.settings.topics)
    with pytest.raises(Unavailable, match="emptied by another rebuild"):
        await rebuild_read_model(msgspec.structs.replace(here, read_model=model))


async def test_a_fact_that_was_parked_before_is_not_taken_for_the_new_one(
    here: Installation,
) -> None:
    """The lock is asked for while no projector runs; what was parked is of an earlier attempt."""
    topics, partitions = here.settings.topics, here.settings.partitions
    taken = lock_created(8, lock_uuid=LOCK_UUID, event_id=event_id_of_lock_creation(8))
    async with running(run_projector, here.settings):
        await ensure_lock(here, LockLine(7, "acme", LOCK_UUID))
        await write_facts(here.kafka, topics.lock_facts, partitions, [taken])

        async def parked() -> bool:
            return await here.read_model.count_parked() == 1

        await eventually(parked)
    asked = asyncio.Event()

    class Asked(ReadModel):
        async def parked_facts(self, event_ids: Sequence[UUID]) -> dict[UUID, ParkedRow]:
            found = await super().parked_facts(event_ids)
            asked.set()
            return found

    model = Asked(here.read_model._database, here.settings.topics)
    there = msgspec.structs.replace(here, read_model=model)
    adding = asyncio.create_task(ensure_lock(there, LockLine(8, "acme", None)))
    await asked.wait()
    async with running(run_projector, here.settings):
        assert await adding


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (LockLine(7, "acme"), None),
        (LockLine(7, "acme", LOCK_UUID), None),
        (LockLine(7, "bolt", LOCK_UUID), "lock 7 belongs to acme, not to bolt"),
        (
            LockLine(7, "acme", UUID(int=1)),
            f"lock 7 has the uuid {LOCK_UUID}, not {UUID(int=1)}",
        ),
    ],
)
def test_a_line_is_held_against_the_lock_that_is_there(line: LockLine, problem: str | None) -> None:
    row = LockRow(7, LOCK_UUID, "acme", 3, TIME)
    assert conflict(line, row) == problem


async def test_all_is_well_while_every_partition_of_who_is_served_has_an_owner(
    here: Installation,
) -> None:
    """A paused partner is served by nobody, and a removed one is no partner."""
    for partner_id in ("crm", "gone"):
        await create_partner(here, partner_id, "acme", ("*",), "earliest")
    await set_status(here, "gone", "removed")
    await set_status(here, "crm", "paused")
    nobody = await read_status(here)
    assert (nobody.ok, nobody.stages[0].state) == (False, "nobody has it")

    async def well() -> bool:
        return (await read_status(here)).ok

    async with running(run_projector, here.settings):
        await eventually(well)
        found = await read_status(here)
        states = [(stage.name, stage.state) for stage in found.stages]
        assert states == [("projector", "running"), ("partner crm", "paused")]
        assert found.parked == 0
        await set_status(here, "crm", "active")
        assert not await well()
