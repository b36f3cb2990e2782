"""How far a consumer group is behind, as its checkpoints say."""

from collections.abc import Mapping

from lockstream.eventlog.kafka import (
    REQUEST_TIMEOUT_S,
    Kafka,
    connected,
    high_watermarks,
    kafka_errors,
)
from lockstream.runtime.process import within


async def group_lag(kafka: Kafka, group: str, topic: str, begin: Mapping[int, int]) -> int:
    """Records between the group's checkpoints and the end of a topic that is written in
    transactions: at most so many, as each transaction's marker takes an offset too. ``begin``: the
    position of partitions without a checkpoint.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with connected(kafka.offsets_client()) as client, connected(kafka.admin()) as admin:
        ends = await high_watermarks(client, topic, list(begin))
        with kafka_errors(f"reading the offsets of {group}"):
            committed = await within(admin.list_consumer_group_offsets(group), REQUEST_TIMEOUT_S)
    reached = {
        tp.partition: at.offset
        for tp, at in committed.items()
        if tp.topic == topic and at.offset >= 0
    }
    # What a partition ends with is a marker, and nothing to be read.
    return sum(max(0, end - 1 - reached.get(p, begin[p])) for p, end in ends.items())
