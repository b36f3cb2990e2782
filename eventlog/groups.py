"""What Kafka knows of a consumer group: who is in it, and how far it is by its checkpoints."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import GroupIdNotFound, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest

from eventlog.checkpoints import Checkpoint
from eventlog.kafka import (
    REQUEST_TIMEOUT_S,
    Kafka,
    connected,
    high_watermarks,
)
from eventlog.kafka_errors import error_of, kafka_errors
from eventlog.log_reader import LogReader
from runtime.waiting import within

_UUID = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z|-[A-Za-z0-9_-]{22}\Z")

GROUPS_AT_ONCE = 16
LOOK_BYTES = 64 * 1024
LOOK_WAIT_MS = 20
"""For a look at one record of each partition: where there is none, nobody waits for it."""


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


class Wanted(msgspec.Struct, frozen=True):
    """A group to be asked for: it reads ``topic``, from ``begin`` on where it has no checkpoint."""

    group: str
    topic: str
    begin: Mapping[int, int]


class GroupState(msgspec.Struct, frozen=True):
    members: list[Member]
    progress: dict[int, Progress]


async def read_groups(kafka: Kafka, wanted: Sequence[Wanted]) -> list[GroupState]:
    """Each group's members and how far it is in each partition, in the order asked for, by one
    client of each kind for all of them. Checkpoints are written every 5 seconds.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with (
        connected(kafka.admin()) as admin,
        connected(kafka.offsets_client()) as client,
        LogReader.open(kafka, LOOK_BYTES, LOOK_WAIT_MS) as reader,
    ):
        at_once = asyncio.Semaphore(GROUPS_AT_ONCE)
        known = await asyncio.gather(*(_ask(admin, at_once, one) for one in wanted))
        ends, waiting = {}, {}
        for topic in {one.topic for one in wanted}:
            numbers = sorted({p for one in wanted if one.topic == topic for p in one.begin})
            ends[topic] = await high_watermarks(client, topic, numbers)
            positions = [
                at for (_, at), one in zip(known, wanted, strict=True) if one.topic == topic
            ]
            waiting[topic] = await _first_waiting(reader, topic, positions, ends[topic])
    return [
        GroupState(
            members,
            {
                p: Progress(at, ends[one.topic][p], waiting[one.topic].get((p, at)))
                for p, at in sorted(positions.items())
            },
        )
        for (members, positions), one in zip(known, wanted, strict=True)
    ]


async def _ask(
    admin: Any, at_once: asyncio.Semaphore, wanted: Wanted
) -> tuple[list[Member], dict[int, int]]:
    """The group's members and its position in each partition."""
    async with at_once:
        members = await _members(admin, wanted.group)
        with kafka_errors(f"reading the offsets of {wanted.group}"):
            asked = admin.list_consumer_group_offsets(wanted.group)
            committed = await within(asked, REQUEST_TIMEOUT_S)
    reached = {
        tp.partition: at.offset
        for tp, at in committed.items()
        if tp.topic == wanted.topic and at.offset >= 0
    }
    return members, {p: reached.get(p, begin) for p, begin in wanted.begin.items()}


async def _first_waiting(
    reader: LogReader,
    topic: str,
    groups: Sequence[Mapping[int, int]],
    ends: Mapping[int, int],
) -> dict[tuple[int, int], int | None]:
    """Per partition and position, when the first record from there on was written, None if none
    is there: what follows the last record is a marker, and nobody waits for it. All partitions are
    asked at once, and what is the next record of one position is so of all up to it."""
    asked: dict[int, list[int]] = {
        p: sorted({group[p] for group in groups if p in group}) for p in ends
    }
    found: dict[tuple[int, int], int | None] = {}
    while begin := {p: positions[0] for p, positions in asked.items() if positions}:
        firsts = await reader.firsts(topic, begin, ends)
        for p in begin:
            record = firsts.get(p)
            for at in list(asked[p]):
                if record is not None and at > record.offset:
                    break
                found[p, at] = record.timestamp_ms if record is not None else None
                asked[p].remove(at)
    return found


async def group_members(kafka: Kafka, group: str) -> list[Member]:
    """
    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with connected(kafka.admin()) as admin:
        return await _members(admin, group)


async def _members(admin: Any, group: str) -> list[Member]:
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


async def group_checkpoints(kafka: Kafka, group: str, topic: str) -> dict[int, Checkpoint]:
    """What the group has noted of each partition of the topic.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with connected(kafka.admin()) as admin:
        with kafka_errors(f"reading the offsets of {group}"):
            committed = await within(admin.list_consumer_group_offsets(group), REQUEST_TIMEOUT_S)
    return {
        tp.partition: Checkpoint(at.offset, at.metadata)
        for tp, at in committed.items()
        if tp.topic == topic and at.offset >= 0
    }


async def delete_group(kafka: Kafka, group: str) -> None:
    """Deletes an empty group with its offsets; one that does not exist is no error.

    Raises:
        KafkaUnavailable: it has members, or the broker can't be reached in time.
    """
    async with connected(kafka.admin()) as admin:
        with kafka_errors(f"deleting group {group}"):
            coordinator = await within(admin.find_coordinator(group), REQUEST_TIMEOUT_S)
            # aiokafka's admin has the request, and no method for it.
            asked = admin._send_request(DeleteGroupsRequest([group]), coordinator)
            answer = await within(asked, REQUEST_TIMEOUT_S)
            for _, code in answer.results:
                if code and for_code(code) is not GroupIdNotFound:
                    raise error_of(code)
