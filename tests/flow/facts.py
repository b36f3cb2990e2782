"""What stands in ``lock-facts``."""

import asyncio
from collections.abc import Mapping

from eventlog.kafka import Kafka
from runtime.settings import Settings

PARTITIONS = range(12)


def recorded_facts(env: Mapping[str, str]) -> int:
    """How many facts were ever recorded: they are not written in transactions, so every offset is
    one."""

    async def ends() -> dict[int, int]:
        kafka = Kafka(Settings(kafka_bootstrap_servers=env["KAFKA_BOOTSTRAP_SERVERS"]), "test")
        async with kafka.offsets_client() as client:
            return await client.high_watermarks("lock-facts", list(PARTITIONS))

    return sum(asyncio.run(ends()).values())
