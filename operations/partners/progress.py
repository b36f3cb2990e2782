"""Says which consumer group serves a partner."""

from eventlog.groups import Wanted
from runtime.settings import Settings
from schemas.registry import Partner


def fanout_group(settings: Settings, partner: Partner) -> Wanted:
    """Names the group that serves a partner, and where the partner's events begin."""
    topics, begin = settings.topics, partner.begins(settings.partitions)
    return Wanted(topics.fanout_group(partner.id), topics.lock_events, begin)
