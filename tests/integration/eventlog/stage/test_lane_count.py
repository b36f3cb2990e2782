"""The number of lanes is on record, and a change of it leaves no earlier owner able to write."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from eventlog.kafka import Kafka
from eventlog.records import Output
from eventlog.registry import Registry, edit_registry, read_registry, write_entries
from eventlog.stage.lane_count import replay_ids, settle_lanes
from eventlog.transactional_writer import TransactionalWriter
from projector.role import run_projector
from runtime.errors import ConfigurationError, OutputUncertain
from runtime.settings import Settings
from schemas.lanes import lane_id
from schemas.lock_events import decode_event
from schemas.registry import LaneCount, Replay
from tests.examples_of import TIME, lock_created, temp_key_used
from tests.integration.kafka_tools import eventually, leave_open, read_all, write_facts
from tests.integration.roles import add_partner, install, running


def with_lanes(settings: Settings, lanes: int) -> Settings:
    return msgspec.structs.replace(settings, lanes=lanes)


async def on_record(kafka: Kafka, settings: Settings) -> tuple[int, Sequence[int]]:
    found = (await read_registry(kafka, settings.topics.registry)).lane_count
    assert found is not None
    return found.lanes, found.unfenced


async def publish(kafka: Kafka, settings: Settings, *facts: object) -> None:
    await write_facts(kafka, settings.topics.lock_facts, settings.partitions, facts)  # type: ignore[arg-type]


async def versions(kafka: Kafka, settings: Settings) -> list[int]:
    records = await read_all(kafka, settings.topics.lock_events, settings.partitions)
    return [decode_event(record.value or b"").version for record in records]


async def test_a_new_installation_puts_its_number_on_record(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    await settle_lanes(kafka, settings)
    assert await on_record(kafka, settings) == (settings.lanes, ())


async def test_a_zombie_of_the_old_lanes_can_write_nothing_once_their_number_has_changed(
    kafka: Kafka, settings: Settings
) -> None:
    """Paused with a transaction open, between two, or just after its fence, and of more lanes than
    there are now: nobody takes those over any more."""
    old, new = with_lanes(settings, 3), with_lanes(settings, 1)
    await install(kafka, old)
    await add_partner(kafka, old, "crm")
    async with running(run_projector, old):
        await publish(kafka, old, lock_created(7))
        await eventually(lambda: _has(kafka, old, [1]))
    topics = settings.topics
    home = topics.partition_of(7)
    stray = Output(topics.lock_events, b"7", b"by a zombie")
    ids = [
        lane_id(group, lane)
        for group in (topics.projector_group, topics.fanout_group("crm"))
        for lane in range(3)
    ]
    zombies = [await TransactionalWriter.fence(kafka, one) for one in ids]
    await leave_open(zombies[2], home, [stray])
    async with running(run_projector, new):
        await publish(kafka, new, temp_key_used(7))
        await eventually(lambda: _has(kafka, new, [1, 2]))
        for zombie in zombies:
            with pytest.raises(OutputUncertain):
                await zombie.write({home: [stray]})
            await zombie.discard()
        await publish(kafka, new, temp_key_used(7))
        await eventually(lambda: _has(kafka, new, [1, 2, 3]))
    assert await on_record(kafka, new) == (1, ())


async def _has(kafka: Kafka, settings: Settings, expected: list[int]) -> bool:
    return await versions(kafka, settings) == expected


async def test_whoever_takes_a_lane_after_the_number_has_changed_stops(
    kafka: Kafka, settings: Settings, logged_errors: list[str]
) -> None:
    """It slept through the change, and fences again when it wakes."""
    await install(kafka, settings)
    async with running(run_projector, settings):
        await publish(kafka, settings, lock_created(7))
        await eventually(lambda: _has(kafka, settings, [1]))

        def change(now: Registry) -> Sequence[LaneCount]:
            return [LaneCount(lanes=settings.lanes + 1, created_at=TIME)]

        await edit_registry(kafka, settings.topics.registry, change)
        for lane in range(settings.lanes):
            name = lane_id(settings.topics.projector_group, lane)
            await (await TransactionalWriter.fence(kafka, name)).discard()
        await publish(kafka, settings, temp_key_used(7))

        async def stopped() -> bool:
            return any("LOCKSTREAM_LANES" in line for line in logged_errors)

        await eventually(stopped)
        assert await versions(kafka, settings) == [1]
    logged_errors.clear()


async def test_the_number_is_not_changed_while_somebody_works(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    async with running(run_projector, settings):
        await publish(kafka, settings, lock_created(7))
        await eventually(lambda: _has(kafka, settings, [1]))
        with pytest.raises(ConfigurationError, match=r"LOCKSTREAM_LANES is 3.*stop every"):
            await run_projector(with_lanes(settings, 3), asyncio.Event())
        await publish(kafka, settings, temp_key_used(7))
        await eventually(lambda: _has(kafka, settings, [1, 2]))
    assert await on_record(kafka, settings) == (settings.lanes, ())


async def test_an_owner_of_one_partition_of_the_versions_before_lanes_is_fenced_too(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    await publish(kafka, settings, lock_created(7))
    topics = settings.topics
    home = topics.partition_of(7)
    zombie = await TransactionalWriter.fence(kafka, f"projector.{topics.lock_facts}.{home}")
    async with running(run_projector, settings):
        await eventually(lambda: _has(kafka, settings, [1]))
    with pytest.raises(OutputUncertain):
        await zombie.write({home: [Output(topics.lock_events, b"7", b"by a zombie")]})
    await zombie.discard()


async def test_a_change_that_was_broken_off_is_finished_by_whoever_starts_next(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)

    def begun(now: Registry) -> Sequence[LaneCount]:
        return [LaneCount(lanes=1, unfenced=(3,), created_at=TIME)]

    await edit_registry(kafka, settings.topics.registry, begun)
    zombie = await TransactionalWriter.fence(kafka, lane_id(settings.topics.projector_group, 2))
    await settle_lanes(kafka, with_lanes(settings, 2))
    assert await on_record(kafka, settings) == (2, ())
    with pytest.raises(OutputUncertain):
        await zombie.write({0: [Output(settings.topics.lock_events, b"7", b"by a zombie")]})
    await zombie.discard()


async def test_whoever_serves_a_replay_under_the_old_number_is_fenced_too(
    kafka: Kafka, settings: Settings
) -> None:
    old, new = with_lanes(settings, 3), with_lanes(settings, 1)
    await install(kafka, old)
    await settle_lanes(kafka, old)
    await add_partner(kafka, old, "crm")
    topics = settings.topics
    replay = Replay(
        partner_id="crm",
        number=2,
        org_id="acme",
        types=("*",),
        start_offsets=(0,) * topics.partitions,
        end_offsets=(9,) * topics.partitions,
        created_at=TIME,
    )
    await write_entries(kafka, topics.registry, [replay])
    ids = [lane_id(topics.replay_group("crm", 2), lane) for lane in range(3)]
    assert set(ids) == set(replay_ids(topics, await read_registry(kafka, topics.registry), replay))
    zombies = [await TransactionalWriter.fence(kafka, one) for one in ids]
    await settle_lanes(kafka, new)
    for zombie in zombies:
        with pytest.raises(OutputUncertain):
            await zombie.write({0: [Output(topics.lock_events, b"7", b"by a zombie")]})
        await zombie.discard()
