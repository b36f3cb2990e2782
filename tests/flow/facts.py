"""What stands in ``lock-facts``."""

import asyncio
from collections.abc import Mapping

from eventlog.kafka import Kafka, connected, high_watermarks
from runtime.settings import Settings

PARTITIONS = range(12)


def recorded_facts(env: Mapping[str, str]) -> int:
    """How many facts were ever recorded: they are not written in transactions, so every offset is
    one."""

    async def ends() -> dict[int, int]:
        kafka = Kafka(Settings(kafka_bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"]), "test")
        async with connected(kafka.offsets_client()) as client:
            return await high_watermarks(client, "lock-facts", list(PARTITIONS))

    return sum(asyncio.run(ends()).values())
