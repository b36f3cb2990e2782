"""Changes how long a partner's topic keeps its records."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from eventlog.kafka_errors import errors, ours
from eventlog.registry import Registry
from operations.partners.entries import live_partner
from operations.shared.durations import read_duration
from operations.shared.installation import Installation
from schemas.registry import Partner
from schemas.topic_configs import RETENTION

RetentionOption = Annotated[
    str | None,
    typer.Option("--retention", help="How long its topic keeps a record from its delivery: 90d."),
]


def read_retention(text: str) -> int:
    """Reads a retention time; returns milliseconds.

    Raises:
        ConfigurationError: it is no duration.
    """
    return int(read_duration("--retention", text).total_seconds() * 1000)


async def set_retention(here: Installation, partner_id: str, retention_ms: int) -> Partner:
    """Changes the partner's topic, and then its entry, by which the topic is made if it is not
    there; returns the new entry.

    Raises:
        ConfigurationError: there is no such partner.
        KafkaRefused: we may not change the topic; nothing is changed.
        KafkaUnavailable: the broker can't be reached in time. To run it again is safe.
    """
    live_partner(await here.read_registry(), partner_id)
    topic = here.settings.topics.partner_events(partner_id)
    async with here.kafka.admin() as admin:
        outcomes = await admin.alter_topic_setting(RETENTION, {topic: str(retention_ms)})
    error = outcomes.get(topic)
    if error is not None and not isinstance(error, errors.UnknownTopicOrPartitionError):
        raise ours(error, f"changing {RETENTION} of {topic}")

    def edit(registry: Registry) -> Sequence[Partner]:
        entry = live_partner(registry, partner_id)
        return [msgspec.structs.replace(entry, retention_ms=retention_ms)]

    (changed,) = await here.edit_registry(edit)
    return changed
