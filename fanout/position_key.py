"""Makes the installation's position key: once, by whichever fan-out starts first."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from eventlog.kafka import Kafka
from eventlog.registry import Registry, edit_registry, read_registry
from schemas.primitives import write_time
from schemas.registry import PositionKey

KEY_BYTES = 32


async def ensure_position_key(kafka: Kafka, topic: str) -> None:
    """Returns once the registry has a position key. One that is there is never replaced: what was
    sealed under it could not be opened any more.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        KafkaRefused: we may not write to the registry.
    """
    if (await read_registry(kafka, topic)).position_key is not None:
        return
    made = PositionKey(key=secrets.token_hex(KEY_BYTES), created_at=write_time(datetime.now(UTC)))

    def edit(registry: Registry) -> Sequence[PositionKey]:
        return [] if registry.position_key is not None else [made]

    await edit_registry(kafka, topic, edit)
