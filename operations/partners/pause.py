"""Ends a partner's fan-out from outside, and keeps how far it has come. Kafka keeps a group's
offsets for 7 days and the topic's records for 30; a pause may last longer."""

from collections.abc import Sequence

import msgspec

from eventlog.clients.offsets_client import OffsetsClient
from eventlog.groups import group_checkpoints
from eventlog.log_reader import LogReader
from eventlog.registry import Registry
from eventlog.stage.ending import end_stage
from eventlog.stage.lane_count import fanout_ids
from eventlog.stage.stage_partition import OutputLog
from eventlog.topic_setup import topic_exists
from fanout.partition import FanoutPartition
from fanout.positions import Positions
from operations.shared.installation import Installation
from runtime.errors import KafkaUnavailable
from schemas.registry import Partner, PausedAt


async def end_fanout(here: Installation, partner_id: str) -> None:
    """Returns once no fan-out serves the partner, whose entry says so already.

    Raises:
        KafkaUnavailable: a fan-out still does, or the broker can't be reached in time.
    """
    topics = here.settings.topics
    try:
        await end_stage(
            here.kafka,
            topics.fanout_group(partner_id),
            fanout_ids(topics, await here.read_registry(), partner_id),
        )
    except KafkaUnavailable as error:
        raise KafkaUnavailable(
            f"partner {partner_id}: the registry has the change, but not all is done: {error}"
        ) from error


async def keep_position(here: Installation, partner_id: str) -> None:
    """Writes into the registry how far a paused partner has come.

    Raises:
        KafkaUnavailable: a fan-out still serves it, or the broker can't be reached in time.
        StreamViolation: its topic does not say how far it has come.
    """
    topics = here.settings.topics
    registry = await here.read_registry()
    before = registry.partner(partner_id)
    if before is None or not await topic_exists(here.kafka, topics.partner_events(partner_id)):
        return
    await end_fanout(here, partner_id)
    positions = Positions(registry.position_key)
    kept = msgspec.structs.replace(before, paused_at=await _paused_at(here, before, positions))

    def edit(registry: Registry) -> Sequence[Partner]:
        # Whoever resumed it meanwhile has made it move on.
        return [kept] if registry.partner(partner_id) == before else []

    if before.status == "paused":
        await here.edit_registry(edit)


async def _paused_at(
    here: Installation, entry: Partner, positions: Positions
) -> tuple[PausedAt, ...]:
    topics = here.settings.topics
    checkpoints = await group_checkpoints(
        here.kafka, topics.fanout_group(entry.id), topics.lock_events
    )

    async def position(reader: LogReader, client: OffsetsClient, partition: int) -> PausedAt:
        output = OutputLog(reader, client, partition, checkpoints.get(partition))
        return await FanoutPartition(topics, entry, partition, positions).paused_at(output)

    async with (
        here.kafka.offsets_client() as client,
        LogReader.open(here.kafka, fetch_wait_ms=20) as reader,
    ):
        return tuple([await position(reader, client, p) for p in here.settings.topics.numbers])
