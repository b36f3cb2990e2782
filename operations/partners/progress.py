"""Reads how far the fan-outs have come, from each partner's consumer group."""

from collections.abc import Sequence

from eventlog.groups import GroupState, Wanted, read_groups
from operations.shared.installation import Installation
from runtime.settings import Settings
from schemas.registry import Partner


def fanout_group(settings: Settings, partner: Partner) -> Wanted:
    """Names the group that serves a partner, and where the partner's events begin."""
    topics, begin = settings.topics, partner.begins(settings.partitions)
    return Wanted(topics.fanout_group(partner.id), topics.lock_events, begin)


async def read_fanouts(here: Installation) -> Sequence[tuple[Partner, GroupState]]:
    """Reads the group of every partner that is not removed.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    registry = await here.read_registry()
    partners = [entry for entry in registry.all(Partner) if entry.status != "removed"]
    groups = await read_groups(here.kafka, [fanout_group(here.settings, e) for e in partners])
    return list(zip(partners, groups, strict=True))
