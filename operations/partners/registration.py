"""Registers a new partner: checks its id, finds where its events begin, and makes its topic."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import msgspec

from eventlog.kafka import Kafka
from eventlog.registry import Registry
from eventlog.topic_setup import ensure_installation, ensure_partner_topic, list_topics
from operations.organizations.organizations import check_organization
from operations.partners.boundary import check_apart
from operations.partners.entries import live_ids
from operations.shared.installation import Installation
from operations.shared.names import check_name
from operations.shared.start_points import read_start, start_offsets
from runtime.errors import ConfigurationError
from schemas.primitives import write_time
from schemas.registry import Partner
from schemas.topics import MAX_TOPIC_NAME, LockTopics, collides

REPLAY_MARK = ".lock-events.replay."
"""Whoever reads a replay's topics may read all whose names begin so."""


async def create_partner(
    here: Installation,
    partner_id: str,
    org_id: str,
    types: tuple[str, ...],
    begin: str,
    *,
    force: bool = False,
) -> Partner:
    """Registers a partner and makes its topic. ``force``: also for an organisation that is not
    registered.

    Raises:
        ConfigurationError: there is such a partner, no such organisation, or the topic can't be.
        KafkaUnavailable: the broker can't be reached in time.
    """
    check_name("--id", partner_id)
    check_name("--org", org_id)
    await ensure_installation(here.kafka, here.settings)
    topics, partitions = here.settings.topics, here.settings.partitions
    existing = await list_topics(here.kafka)
    check_topic_name(topics, partner_id, existing)
    own = topics.partner_events(partner_id)
    left_over = own in existing and await _has_held_records(here.kafka, own, partitions)
    left_replays = sorted(t for t in existing if _is_replay_of(topics, t, partner_id))
    entry = Partner(
        id=partner_id,
        org_id=org_id,
        types=types,
        start_offsets=await _start_offsets(here.kafka, partitions, topics.lock_events, begin),
        created_at=write_time(datetime.now(UTC)),
    )

    def edit(registry: Registry) -> Sequence[Partner]:
        before = registry.partner(partner_id)
        if before is not None and before.status != "removed" and not _is_same(before, entry):
            raise ConfigurationError(
                f"partner {partner_id} exists already; `lockstream partner list` shows it"
            )
        if left_over:
            raise ConfigurationError(
                f"the topic {own} is left from an earlier partner; use another id, or "
                f"`lockstream partner remove {partner_id} --delete-topic` first"
            )
        if left_replays and (before is None or not _is_same(before, entry)):
            # Whoever may read the partner's replays could read another organisation's.
            raise ConfigurationError(
                f"the topic {left_replays[0]} is left from an earlier partner; use another id, or "
                f"`lockstream partner remove {partner_id} --delete-topic` first"
            )
        check_apart(partner_id, live_ids(registry, but=partner_id))
        if not force:
            check_organization(registry, org_id)
        # No user's name comes twice, whoever had the id before.
        former = before.credentials if before is not None else ()
        return [msgspec.structs.replace(entry, credentials=former)]

    (entry,) = await here.edit_registry(edit)
    # After the entry: the fan-out makes a topic that is missing, but nobody takes one away that
    # belongs to no partner.
    await ensure_partner_topic(here.kafka, here.settings, entry)
    return entry


def _is_same(before: Partner, entry: Partner) -> bool:
    """Returns whether an entry was written by this attempt, which is asked again."""
    return msgspec.structs.replace(before, credentials=()) == entry


def check_topic_name(topics: LockTopics, partner_id: str, existing: Collection[str]) -> None:
    """Checks that the partner's topic can have its name, and that no other name is taken for it.

    Raises:
        ConfigurationError: it can't; the text says why.
    """
    if not partner_id.strip("."):
        raise ConfigurationError(f"--id: {partner_id!r} has no letter or digit")
    if REPLAY_MARK in f"{partner_id}.":
        raise ConfigurationError(
            f"--id: the topics of {partner_id!r} would begin like another partner's replay; use an "
            f"id without {REPLAY_MARK!r}"
        )
    own = topics.partner_events(partner_id)
    if len(own) > MAX_TOPIC_NAME:
        raise ConfigurationError(
            f"--id: the topic {own} would have {len(own)} characters, more than the "
            f"{MAX_TOPIC_NAME} that Kafka takes; use a shorter id"
        )
    for other in sorted(existing):
        if other != own and collides(other, own):
            raise ConfigurationError(
                f"--id: {partner_id}'s topic {own} can't be told from {other} by Kafka, to which "
                "'.' and '_' are the same; use another id"
            )
        partner = topics.partner_of(other)
        if partner is not None and partner != partner_id and _nested(own, other):
            raise ConfigurationError(
                f"--id: {partner_id}'s topic {own} and {partner}'s topic {other}: one name is the "
                "beginning of the other, so who may read one might read both; use another id"
            )


def _is_replay_of(topics: LockTopics, topic: str, partner_id: str) -> bool:
    replay = topics.replay_of(topic)
    return replay is not None and replay[0] == partner_id


def _nested(one: str, other: str) -> bool:
    return one.startswith(f"{other}.") or other.startswith(f"{one}.")


async def _has_held_records(kafka: Kafka, topic: str, partitions: int) -> bool:
    """Tells whether the topic has ever held records. An empty one, left by an interrupted `partner
    add`, may be used again."""
    async with kafka.offsets_client() as client:
        ends = await client.high_watermarks(topic, list(range(partitions)))
    return any(ends.values())


async def _start_offsets(kafka: Kafka, partitions: int, topic: str, begin: str) -> tuple[int, ...]:
    numbers = list(range(partitions))
    start = read_start("--from", begin, datetime.now(UTC))
    async with kafka.offsets_client() as client:
        offsets = await start_offsets(client, topic, numbers, start, "--from")
    return tuple(offsets[p] for p in numbers)
