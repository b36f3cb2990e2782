"""Registers, lists and cancels replays: a partner's events once more, in topics of their own."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import msgspec

from eventlog.groups import delete_group
from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader
from eventlog.registry import Registry
from eventlog.stage.ending import end_stage
from eventlog.stage.lane_count import replay_ids
from eventlog.topic_setup import delete_topic, ensure_topics, list_topics, topic_exists
from operations.partners.entries import live_partner, no_such_partner
from operations.partners.stretches import Stretch, read_stretch
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError, KafkaUnavailable
from schemas.partner_events import PartnerPosition
from schemas.primitives import write_time
from schemas.registry import Replay
from schemas.replay_events import is_replay_end
from schemas.topic_configs import replay_topic
from schemas.topics import LockTopics

MOST_OF_PARTNER, MOST = 4, 16
"""Replays that may run at the same time, of one partner and of all: each is a stage of its own in
every fan-out."""


class ReplayState(msgspec.Struct, frozen=True):
    """Describes a replay. ``sent``: how many events it was sent so far; None if its topic is not
    there."""

    entry: Replay
    topic: str
    sent: int | None


async def register_replay(
    here: Installation, partner_id: str, begin: str, end: str, types: tuple[str, ...] | None
) -> Replay:
    """Registers a replay, which the running fan-outs begin at once, and makes its topic. ``types``:
    None for those that the partner was entitled to where each event stands.

    Raises:
        ConfigurationError: there is no such partner or stretch, or too many replays run.
        KafkaUnavailable: the broker can't be reached in time.
    """
    live_partner(await here.read_registry(), partner_id)
    stretch = await read_stretch(here, begin, end)
    asked_at = write_time(datetime.now(UTC))

    def edit(registry: Registry) -> Sequence[Replay]:
        partner = live_partner(registry, partner_id)
        own = registry.replays(partner_id)
        if _asked_for(own, stretch, asked_at) is not None:
            # It was written, and the answer was lost.
            return []
        check_running(registry.all(Replay), partner_id)
        return [
            Replay(
                partner_id=partner_id,
                number=max((one.number for one in own), default=0) + 1,
                org_id=partner.org_id,
                types=partner.types if types is None else types,
                earlier=partner.earlier if types is None else (),
                start_offsets=stretch.begin,
                end_offsets=stretch.end,
                created_at=asked_at,
            )
        ]

    await here.edit_registry(edit)
    own = (await here.read_registry()).replays(partner_id)
    replay = _asked_for(own, stretch, asked_at)
    assert replay is not None
    topic = replay_topic(here.settings.topics, partner_id, replay.number)
    await ensure_topics(here.kafka, here.settings, [topic])
    return replay


def _asked_for(replays: Sequence[Replay], stretch: Stretch, asked_at: str) -> Replay | None:
    asked = (asked_at, stretch.begin, stretch.end)
    for one in replays:
        if (one.created_at, one.start_offsets, one.end_offsets) == asked:
            return one
    return None


def check_running(replays: Collection[Replay], partner_id: str) -> None:
    """Checks that one more replay of this partner may run.

    Raises:
        ConfigurationError: it may not.
    """
    running = [one for one in replays if one.status == "running"]
    own = [one for one in running if one.partner_id == partner_id]
    if len(own) >= MOST_OF_PARTNER or len(running) >= MOST:
        of_whom = f"of {partner_id}" if len(own) >= MOST_OF_PARTNER else "of all partners together"
        count = len(own) if len(own) >= MOST_OF_PARTNER else len(running)
        raise ConfigurationError(
            f"{count} replays {of_whom} run already, and more may not at once; wait for one, or "
            "stop one with `lockstream partner cancel`"
        )


async def read_replays(here: Installation, partner_id: str) -> list[ReplayState]:
    """Returns all replays of a partner that there have been, by number.

    Raises:
        ConfigurationError: there has been no such partner.
        KafkaUnavailable: the broker can't be reached in time.
    """
    registry = await here.read_registry()
    if registry.partner(partner_id) is None:
        raise no_such_partner(partner_id)
    topics, existing = here.settings.topics, await list_topics(here.kafka)
    states: list[ReplayState] = []
    for entry in registry.replays(partner_id):
        topic = topics.partner_replay(partner_id, entry.number)
        sent = sum(entry.counts) if entry.status == "ended" else None
        if sent is None and topic in existing:
            sent = await _sent(here.kafka, topics, topic)
        states.append(ReplayState(entry, topic, sent if topic in existing else None))
    return states


async def _sent(kafka: Kafka, topics: LockTopics, topic: str) -> int:
    """Counts the events of a replay so far, by the last record of each partition."""
    async with kafka.offsets_client() as client:
        begins = await client.beginnings(topic, topics.numbers)
        ends = await client.high_watermarks(topic, topics.numbers)
    sent = 0
    async with LogReader.open(kafka, fetch_wait_ms=20) as reader:
        for p in topics.numbers:
            last = await reader.last(topic, p, ends[p], begins[p])
            if last is not None:
                sequence = PartnerPosition.from_kafka(last.headers).sequence
                sent += sequence - is_replay_end(last.headers)
    return sent


async def cancel_replay(
    here: Installation, partner_id: str, number: int, *, with_topic: bool
) -> Replay:
    """Stops a replay, and waits until no fan-out serves it. ``with_topic``: also deletes its topic,
    of one that has ended too.

    Raises:
        ConfigurationError: there is no such replay, or it has ended and keeps its topic.
        KafkaUnavailable: a fan-out still serves it, or the broker can't be reached in time.
    """

    def edit(registry: Registry) -> Sequence[Replay]:
        entry = registry.replay(partner_id, number)
        if entry is None:
            raise ConfigurationError(
                f"partner {partner_id} has no replay {number}; `lockstream partner replays --id "
                f"{partner_id}` lists them"
            )
        if entry.status == "ended" and not with_topic:
            raise ConfigurationError(
                f"replay {number} of {partner_id} has ended already; --delete-topic deletes what "
                "it has sent"
            )
        return _cancelled([entry])

    await here.edit_registry(edit)
    entry = (await here.read_registry()).replay(partner_id, number)
    assert entry is not None
    await _end(here, entry, with_topic=with_topic)
    return entry


async def end_replays(here: Installation, partner_id: str, *, with_topics: bool) -> None:
    """Stops all replays of a partner that is being removed.

    Raises:
        KafkaUnavailable: a fan-out still serves one, or the broker can't be reached in time.
    """
    await here.edit_registry(lambda registry: _cancelled(registry.replays(partner_id)))
    for entry in (await here.read_registry()).replays(partner_id):
        if with_topics or entry.status == "cancelled":
            await _end(here, entry, with_topic=with_topics)


def _cancelled(replays: Sequence[Replay]) -> list[Replay]:
    ended_at = write_time(datetime.now(UTC))
    return [
        msgspec.structs.replace(one, status="cancelled", ended_at=ended_at)
        for one in replays
        if one.status == "running"
    ]


async def _end(here: Installation, entry: Replay, *, with_topic: bool) -> None:
    """Ends whoever serves a replay that runs no more, as its entry says already."""
    topics = here.settings.topics
    group = topics.replay_group(entry.partner_id, entry.number)
    try:
        await end_stage(here.kafka, group, replay_ids(topics, await here.read_registry(), entry))
    except KafkaUnavailable as error:
        raise KafkaUnavailable(
            f"replay {entry.number} of {entry.partner_id}: the registry has the change, but not "
            f"all is done: {error}"
        ) from error
    topic = topics.partner_replay(entry.partner_id, entry.number)
    if with_topic and await topic_exists(here.kafka, topic):
        await delete_topic(here.kafka, topic)
    await delete_group(here.kafka, group)
