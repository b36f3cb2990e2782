"""Pauses, resumes and removes partners."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from eventlog.groups import delete_group
from eventlog.registry import Registry
from eventlog.topic_setup import delete_topic, topic_exists
from operations.partners.credentials import revoke_credentials
from operations.partners.entries import no_such_partner
from operations.partners.pause import end_fanout, keep_position
from operations.partners.replays import end_replays
from operations.shared.installation import Installation
from schemas.registry import Partner


async def set_status(
    here: Installation, partner_id: str, status: Literal["active", "paused", "removed"]
) -> None:
    """Writes the status into the registry, where the fan-outs see it; waits for none of them.

    Raises:
        ConfigurationError: there is no such partner; one that is removed stays so.
    """

    def edit(registry: Registry) -> Sequence[Partner]:
        entry = registry.partner(partner_id)
        if entry is None or (entry.status == "removed" and status != "removed"):
            raise no_such_partner(partner_id)
        return [] if entry.status == status else [msgspec.structs.replace(entry, status=status)]

    await here.edit_registry(edit)


async def pause_partner(here: Installation, partner_id: str) -> None:
    """Pauses a partner, waits until no fan-out serves it, and keeps its position.

    Raises:
        ConfigurationError: there is no such partner.
        KafkaUnavailable: a fan-out still serves it, or the broker can't be reached in time.
    """
    await set_status(here, partner_id, "paused")
    await keep_position(here, partner_id)


async def remove_partner(here: Installation, partner_id: str, *, with_topic: bool) -> None:
    """Removes a partner, its users, its fan-out's group, its replays that run and, ``with_topic``,
    its topics.

    Raises:
        ConfigurationError: there is no such partner.
        KafkaUnavailable: a fan-out still serves it, or the broker can't be reached in time.
    """
    await set_status(here, partner_id, "removed")
    entry = (await here.read_registry()).partner(partner_id)
    if entry is not None and entry.credentials:
        await revoke_credentials(here, partner_id, None)
    await end_fanout(here, partner_id)
    await end_replays(here, partner_id, with_topics=with_topic)
    topics = here.settings.topics
    topic = topics.partner_events(partner_id)
    if with_topic and await topic_exists(here.kafka, topic):
        await delete_topic(here.kafka, topic)
    await delete_group(here.kafka, topics.fanout_group(partner_id))
