"""Asks Kafka who is in a consumer group, and how far its checkpoints are."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence

import msgspec

from eventlog.checkpoints import Checkpoint
from eventlog.clients.admin import Admin
from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader

_UUID = re.compile(r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z|-[A-Za-z0-9_-]{22}\Z")

GROUPS_AT_ONCE = 16
LOOK_BYTES = 64 * 1024
LOOK_WAIT_MS = 20
"""For a look at one record of each partition: where there is none, nobody waits for it."""


class Member(msgspec.Struct, frozen=True):
    """Describes one replica in a group. ``name``: its instance id, or else its client id."""

    name: str
    host: str
    partitions: tuple[int, ...]


class Progress(msgspec.Struct, frozen=True):
    """Says how far a group is in one partition. ``position``: the next offset that it will read, by
    its checkpoint; ``end``: after the last record. ``waiting_since_ms``: when the oldest record
    that waits was written, None if none waits."""

    position: int
    end: int
    waiting_since_ms: int | None = None

    @property
    def lag(self) -> int:
        """Returns how many records wait, counting the markers between them."""
        return self.end - self.position if self.waiting_since_ms is not None else 0

    def lag_s(self) -> float:
        """Returns how long the oldest record waits, in seconds."""
        if self.waiting_since_ms is None:
            return 0.0
        return max(0.0, time.time() - self.waiting_since_ms / 1000)


class Wanted(msgspec.Struct, frozen=True):
    """Names a group to be asked for. It reads ``topic``, from ``begin`` on where it has no
    checkpoint."""

    group: str
    topic: str
    begin: Mapping[int, int]


class GroupState(msgspec.Struct, frozen=True):
    members: list[Member]
    progress: dict[int, Progress]


async def read_groups(kafka: Kafka, wanted: Sequence[Wanted]) -> list[GroupState]:
    """Returns each group's members and progress, in the order asked for. One client of each kind
    asks for all of them. Checkpoints are written every 5 seconds.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with (
        kafka.admin() as admin,
        kafka.offsets_client() as client,
        LogReader.open(kafka, LOOK_BYTES, LOOK_WAIT_MS) as reader,
    ):
        at_once = asyncio.Semaphore(GROUPS_AT_ONCE)
        found = await asyncio.gather(*(_ask(admin, at_once, one) for one in wanted))
        ends, waiting = {}, {}
        for topic in {one.topic for one in wanted}:
            numbers = sorted({p for one in wanted if one.topic == topic for p in one.begin})
            ends[topic] = await client.high_watermarks(topic, numbers)
            positions = [
                at for (_, at), one in zip(found, wanted, strict=True) if one.topic == topic
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
        for (members, positions), one in zip(found, wanted, strict=True)
    ]


async def _ask(
    admin: Admin, at_once: asyncio.Semaphore, wanted: Wanted
) -> tuple[list[Member], dict[int, int]]:
    """Returns the group's members and its position in each partition."""
    async with at_once:
        members = await _members(admin, wanted.group)
        committed = await admin.group_offsets(wanted.group)
    reached = {tp.partition: at for tp, (at, _) in committed.items() if tp.topic == wanted.topic}
    return members, {p: reached.get(p, begin) for p, begin in wanted.begin.items()}


async def _first_waiting(
    reader: LogReader,
    topic: str,
    groups: Sequence[Mapping[int, int]],
    ends: Mapping[int, int],
) -> dict[tuple[int, int], int | None]:
    """Returns when the first record from each position on was written, by partition and position;
    None if there is no record: what follows the last one is a marker, and nobody waits for it. Asks
    all partitions at once. The next record of one position is that of all positions up to it."""
    left: dict[int, list[int]] = {
        p: sorted({group[p] for group in groups if p in group}) for p in ends
    }
    found: dict[tuple[int, int], int | None] = {}
    while begin := {p: positions[0] for p, positions in left.items() if positions}:
        firsts = await reader.firsts(topic, begin, ends)
        for p in begin:
            record = firsts.get(p)
            for at in list(left[p]):
                if record is not None and at > record.offset:
                    break
                found[p, at] = record.timestamp_ms if record is not None else None
                left[p].remove(at)
    return found


async def group_members(kafka: Kafka, group: str) -> list[Member]:
    """Returns who is in the group; nobody if there is no such group.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with kafka.admin() as admin:
        return await _members(admin, group)


async def _members(admin: Admin, group: str) -> list[Member]:
    return [
        # Kafka makes a member's id of its instance id (or client id) and something random.
        Member(
            _UUID.sub("", member.member_id),
            member.host.lstrip("/"),
            tuple(sorted(member.partitions)),
        )
        for member in await admin.group_members(group)
    ]


async def group_checkpoints(kafka: Kafka, group: str, topic: str) -> dict[int, Checkpoint]:
    """Returns what the group has noted of each partition of the topic.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with kafka.admin() as admin:
        committed = await admin.group_offsets(group)
    return {tp.partition: Checkpoint(*at) for tp, at in committed.items() if tp.topic == topic}


async def delete_group(kafka: Kafka, group: str) -> None:
    """Deletes an empty group with its offsets; one that does not exist is no error.

    Raises:
        KafkaUnavailable: it has members, or the broker can't be reached in time.
    """
    async with kafka.admin() as admin:
        await admin.delete_group(group)
