"""What Kafka knows of a consumer group: who is in it, and how far it is by its checkpoints."""

import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from lockstream.eventlog.kafka import (
    REQUEST_TIMEOUT_S,
    Kafka,
    connected,
    high_watermarks,
)
from lockstream.eventlog.kafka_errors import error_of, kafka_errors
from lockstream.eventlog.log_reader import LogReader
from lockstream.runtime.process import within

_UUID = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z|-[A-Za-z0-9_-]{22}\Z")


class Member(msgspec.Struct, frozen=True):
    """One replica in a group. ``name``: its instance id, or its client id where it has none."""

    name: str
    host: str
    partitions: tuple[int, ...]


class Progress(msgspec.Struct, frozen=True):
    """How far a group is in one partition. ``position``: the next offset that it will read, by its
    checkpoint; ``end``: after the last record. ``waiting_since_ms``: when the oldest record that
    waits was written, None where none waits."""

    position: int
    end: int
    waiting_since_ms: int | None = None

    @property
    def lag(self) -> int:
        """Records that wait, and markers between them: at most so many."""
        return self.end - self.position if self.waiting_since_ms is not None else 0

    def lag_s(self) -> float:
        """How long the oldest record waits, in seconds."""
        if self.waiting_since_ms is None:
            return 0.0
        return max(0.0, time.time() - self.waiting_since_ms / 1000)


async def group_members(kafka: Kafka, group: str) -> list[Member]:
    """
    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with connected(kafka.admin()) as admin:
        with kafka_errors(f"describing group {group}"):
            answers = await within(admin.describe_consumer_groups([group]), REQUEST_TIMEOUT_S)
            described = [found for answer in answers for found in answer.groups]
            for code, *_ in described:
                if code:
                    raise error_of(code)
    return [_member(member) for found in described for member in found[5]]


def _member(described: Any) -> Member:
    member_id, _, host, _, assignment = described[:5]
    partitions: list[int] = []
    if assignment:
        decoded = ConsumerProtocolMemberAssignment.decode(assignment)
        partitions = [tp.partition for tp in decoded.partitions()]
    # Kafka makes a member's id of its instance id (or client id) and something random.
    name = _UUID.sub("", member_id)
    return Member(name, host.lstrip("/"), tuple(sorted(partitions)))


async def group_progress(
    kafka: Kafka, group: str, topic: str, begin: Mapping[int, int]
) -> dict[int, Progress]:
    """Per partition of a topic. ``begin``: the position of partitions without a checkpoint.
    Checkpoints are written every 5 seconds.

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
    progress: dict[int, Progress] = {}
    async with LogReader.open(kafka) as reader:
        for partition, end in sorted(ends.items()):
            position = reached.get(partition, begin[partition])
            waiting = await _first_waiting(reader, topic, partition, position, end)
            progress[partition] = Progress(position, end, waiting)
    return progress


async def _first_waiting(
    reader: LogReader, topic: str, partition: int, position: int, end: int
) -> int | None:
    """When the first record from ``position`` on was written. What follows the last record of a
    topic that is written in transactions is a marker, and nobody waits for it."""
    async for records in reader.read(topic, {partition: position}, {partition: end}):
        return records[0].timestamp_ms
    return None
