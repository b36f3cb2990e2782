"""How far a consumer group is behind, as its checkpoints say."""

import asyncio
from collections.abc import Mapping

from lockstream.eventlog.kafka import (
    REQUEST_TIMEOUT_S,
    Kafka,
    high_watermarks,
    kafka_errors,
    start_client,
    stop_client,
)


async def group_lag(kafka: Kafka, group: str, topic: str, begin: Mapping[int, int]) -> int:
    """Records between the group's checkpoints and the end of the topic; ``begin``: the position of
    partitions without a checkpoint.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    client, admin = kafka.offsets_client(), kafka.admin()
    try:
        await start_client(client, "connecting to Kafka")
        ends = await high_watermarks(client, topic, list(begin))
        with kafka_errors(f"reading the offsets of {group}"):
            await asyncio.wait_for(admin.start(), REQUEST_TIMEOUT_S)
            committed = await asyncio.wait_for(
                admin.list_consumer_group_offsets(group), REQUEST_TIMEOUT_S
            )
    finally:
        await stop_client(admin)
        await stop_client(client)
    reached = {
        tp.partition: at.offset
        for tp, at in committed.items()
        if tp.topic == topic and at.offset >= 0
    }
    return sum(max(0, end - reached.get(p, begin[p])) for p, end in ends.items())
