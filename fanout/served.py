"""Says what the fan-out serves by the registry: active partners and running replays. Pure."""

import msgspec

from eventlog.registry import Registry
from schemas.registry import Entry, Partner, Replay
from schemas.topic_configs import Topic, partner_topic, replay_topic
from schemas.topics import LockTopics


class Served(msgspec.Struct, frozen=True):
    """Describes what one stage serves. ``name``: tells it from all others; ``stage``, ``partner``:
    its labels in metrics."""

    entry: Partner | Replay
    name: str
    label: str
    stage: str
    partner: str
    group: str
    topic: Topic


def served_by(registry: Registry, topics: LockTopics, keep_ms: int) -> dict[str, Served]:
    """Returns what is to be served, by name. A removed partner's replays are not. ``keep_ms``: how
    long a partner's topic keeps its records, if its entry does not say."""
    partners = {p.id: p for p in registry.all(Partner)}
    found = [_partner(p, topics, keep_ms) for p in partners.values() if p.status == "active"]
    for replay in registry.all(Replay):
        partner = partners.get(replay.partner_id)
        if replay.status == "running" and partner is not None and partner.status != "removed":
            found.append(_replay(replay, topics))
    return {served.name: served for served in found}


def _partner(entry: Partner, topics: LockTopics, keep_ms: int) -> Served:
    return Served(
        entry,
        name=entry.id,
        label=f"partner {entry.id}",
        stage="fanout",
        partner=entry.id,
        group=topics.fanout_group(entry.id),
        topic=partner_topic(topics, entry.id, entry.retention_ms or keep_ms),
    )


def _replay(entry: Replay, topics: LockTopics) -> Served:
    partner_id, number = entry.partner_id, entry.number
    return Served(
        entry,
        name=f"{partner_id}/replay.{number}",
        label=f"replay {number} of partner {partner_id}",
        stage="replay",
        partner=f"{partner_id}/{number}",
        group=topics.replay_group(partner_id, number),
        topic=replay_topic(topics, partner_id, number),
    )


DECISIVE = (
    *("id", "org_id", "created_at", "status"),
    *("types", "earlier", "start_offsets", "paused_at"),
)
"""The fields of a partner's entry that decide on deliveries."""


def is_served_alike(one: Partner | Replay, other: Entry | None) -> bool:
    """Returns whether what decides on deliveries is the same in both entries. An entry may hold
    more: who may log in, for instance, concerns no stage."""
    if isinstance(one, Partner) and isinstance(other, Partner):
        return all(getattr(one, name) == getattr(other, name) for name in DECISIVE)
    return one == other
