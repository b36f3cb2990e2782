"""Keeps the number of an installation's lanes on record, and makes a change of it safe.

A process that was paused under another number owns other sets of partitions, under ids that nobody
takes over any more. So the new number is written to the registry first, then every id of the old
one is fenced, and only then does anybody take a lane. Whoever takes one reads the record after its
fence: either that reading shows the new number, or the change has fenced what it took.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from eventlog.groups import group_members
from eventlog.kafka import Kafka
from eventlog.registry import Registry, edit_registry, read_registry
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import ConfigurationError, LanesChanged
from runtime.settings import Settings
from schemas.lanes import lane_id
from schemas.primitives import write_time
from schemas.registry import LaneCount, Partner, Replay
from schemas.topics import LockTopics

log = logging.getLogger(__name__)

FENCED_AT_ONCE = 16
BEFORE_LANES = 0
"""Stands for the versions that had an id for each partition."""


async def settle_lanes(kafka: Kafka, settings: Settings) -> None:
    """Returns once the installation works with the number of lanes that the settings say.

    Raises:
        ConfigurationError: it works with another number, and somebody still does.
        KafkaUnavailable: Kafka can't be reached in time, or others settle it at the same time.
    """
    topics, wanted = settings.topics, settings.lanes
    registry = await read_registry(kafka, topics.registry)
    if _is_settled(registry.lane_count, wanted):
        return
    await _require_rest(kafka, settings, registry)
    there = bool(registry.lane_count) or await _has_facts(kafka, settings)

    def begin(now: Registry) -> Sequence[LaneCount]:
        return [] if _is_settled(now.lane_count, wanted) else [_changed(now, wanted, there)]

    if not await edit_registry(kafka, topics.registry, begin):
        return
    registry = await read_registry(kafka, topics.registry)
    await _fence_all(kafka, settings, registry)

    def end(now: Registry) -> Sequence[LaneCount]:
        same = now.lane_count == registry.lane_count
        return [LaneCount(lanes=wanted, created_at=_now())] if same else []

    if not await edit_registry(kafka, topics.registry, end):
        await settle_lanes(kafka, settings)
    log.info("the installation works with %d lanes", wanted)


def check_lanes(registry: Registry, lanes: int) -> None:
    """Returns if the registry says that the installation works with so many lanes.

    Raises:
        LanesChanged: it works with another number.
    """
    found = registry.lane_count
    if found is None or found.lanes != lanes:
        now = "another number of" if found is None else str(found.lanes)
        raise LanesChanged(
            f"the installation works with {now} lanes by now, and this process with {lanes}: "
            "restart it with the same LOCKSTREAM_LANES"
        )


def _is_settled(found: LaneCount | None, wanted: int) -> bool:
    return found is not None and found.lanes == wanted and not found.unfenced


def _changed(registry: Registry, wanted: int, there: bool) -> LaneCount:
    """Returns the entry of a change under way. ``there``: somebody may have worked before."""
    found = registry.lane_count
    if found is None:
        before = {BEFORE_LANES} if there else set()
    else:
        before = {*found.unfenced, found.lanes}
    return LaneCount(lanes=wanted, unfenced=tuple(sorted(before)), created_at=_now())


def _now() -> str:
    return write_time(datetime.now(UTC))


async def _require_rest(kafka: Kafka, settings: Settings, registry: Registry) -> None:
    """Checks that nobody works.

    Raises:
        ConfigurationError: somebody does, and not with the number that is wanted.
    """
    found = registry.lane_count
    for group in _groups(settings, registry):
        if not (members := await group_members(kafka, group)):
            continue
        now = await read_registry(kafka, settings.topics.registry)
        if _is_settled(now.lane_count, settings.lanes):
            return
        names = ", ".join(member.name for member in members)
        before = "an id for each partition" if found is None else f"{found.lanes} lanes"
        raise ConfigurationError(
            f"LOCKSTREAM_LANES is {settings.lanes}, but the installation works with {before}, and "
            f"{names} in group {group} still does: stop every projector and fan-out, then start "
            "them with the new number"
        )


def _groups(settings: Settings, registry: Registry) -> dict[str, str | None]:
    """Returns the group of every stage, with the prefix of the ids that it had before lanes, if
    there were such stages then."""
    topics = settings.topics
    groups: dict[str, str | None] = {topics.projector_group: f"projector.{topics.lock_facts}"}
    for partner in registry.all(Partner):
        if partner.status != "removed":
            groups[topics.fanout_group(partner.id)] = _before_lanes(topics, partner.id)
    for replay in registry.all(Replay):
        if replay.status == "running":
            groups[topics.replay_group(replay.partner_id, replay.number)] = None
    return groups


def _before_lanes(topics: LockTopics, partner_id: str) -> str:
    return f"fanout.{partner_id}.{topics.lock_events}"


async def _has_facts(kafka: Kafka, settings: Settings) -> bool:
    topics = settings.topics
    async with kafka.offsets_client() as client:
        ends = await client.high_watermarks(topics.lock_facts, topics.numbers)
    return any(ends.values())


async def _fence_all(kafka: Kafka, settings: Settings, registry: Registry) -> None:
    """Takes over every id that a process of an earlier number may still write under."""
    free = asyncio.Semaphore(FENCED_AT_ONCE)

    async def fence(transactional_id: str) -> None:
        async with free:
            await TransactionalWriter.end(kafka, transactional_id)

    await asyncio.gather(*(fence(one) for one in _unfenced_ids(settings, registry)))


def _unfenced_ids(settings: Settings, registry: Registry) -> Iterator[str]:
    unfenced = registry.lane_count.unfenced if registry.lane_count is not None else ()
    for group, before_lanes in _groups(settings, registry).items():
        yield from _ids(group, before_lanes, unfenced, settings.partitions)


def fanout_ids(topics: LockTopics, registry: Registry, partner_id: str) -> list[str]:
    """Returns every transactional id under which somebody may serve the partner, by the number of
    lanes that is on record."""
    counts, before_lanes = _counts(registry), _before_lanes(topics, partner_id)
    return list(_ids(topics.fanout_group(partner_id), before_lanes, counts, topics.partitions))


def replay_ids(topics: LockTopics, registry: Registry, replay: Replay) -> list[str]:
    """Returns every transactional id under which somebody may serve the replay, likewise."""
    group = topics.replay_group(replay.partner_id, replay.number)
    return list(_ids(group, None, _counts(registry), topics.partitions))


def _counts(registry: Registry) -> tuple[int, ...]:
    found = registry.lane_count
    return (found.lanes, *found.unfenced) if found is not None else (BEFORE_LANES,)


def _ids(
    group: str, before_lanes: str | None, counts: Sequence[int], partitions: int
) -> Iterator[str]:
    yield from (lane_id(group, lane) for lane in range(max(counts, default=0)))
    if BEFORE_LANES in counts and before_lanes is not None:
        yield from (f"{before_lanes}.{partition}" for partition in range(partitions))
