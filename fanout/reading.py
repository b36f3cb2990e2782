"""Finds out of many partners at once what they were not sent yet, and what they have not read.

A partner has read what one of its own consumer groups has committed. One that has no group, or that
keeps its offsets elsewhere, counts as one that has read nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from eventlog.checkpoints import Checkpoint
from eventlog.clients.admin import Admin
from eventlog.clients.offsets_client import StableOffsetsClient
from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader
from eventlog.records import TopicPartition
from eventlog.single_records import SingleRecords
from fanout.own_groups import AT_ONCE, OwnGroup, by_owner, read_own_groups
from fanout.undelivered import EntitledCounter, known_counts
from fanout.unread import Marks, Ranges, Unread, furthest_behind, unread
from schemas.registry import Partner
from schemas.topic_configs import RETENTION
from schemas.topics import LockTopics

PARTNERS_AT_ONCE = 20
"""Between so many, others in the process have their turn."""
NOBODY = OwnGroup("", 0, {})
"""Reads for a partner that has no group, and so has read nothing."""
NOTHING_KNOWN: Mapping[int, Checkpoint] = {}


class Clients(msgspec.Struct, frozen=True):
    """Holds one client of each kind, for whoever asks about all partners."""

    admin: Admin
    offsets: StableOffsetsClient
    records: SingleRecords
    stream: LogReader


@asynccontextmanager
async def open_clients(kafka: Kafka) -> AsyncIterator[Clients]:
    """Connects.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with (
        kafka.admin() as admin,
        kafka.stable_offsets_client() as offsets,
        SingleRecords.open(kafka) as records,
        LogReader.open(kafka, fetch_wait_ms=20) as stream,
    ):
        yield Clients(admin, offsets, records, stream)


class GroupReading(msgspec.Struct, frozen=True):
    """Says how far one consumer group of a partner has read."""

    name: str
    members: int
    unread: Unread


class PartnerReading(msgspec.Struct, frozen=True):
    """Says how a partner stands. ``undelivered``: None if it is not counted yet; ``unread``: of the
    group that is furthest behind, or of nobody if there is none; ``retention_ms``: None if the
    topic is kept for ever, or not there; ``left_out``: how many groups more it has."""

    partner: Partner
    undelivered: int | None
    unread: Unread
    groups: Sequence[GroupReading]
    left_out: int
    retention_ms: int | None

    def retained_until_ms(self, unread: Unread) -> int | None:
        """Returns until when retention leaves the oldest unread record, at the least; None if
        there is none, or it is kept for ever."""
        if unread.oldest_ms is None or self.retention_ms is None:
            return None
        return unread.oldest_ms + self.retention_ms


class PartnersReader:
    """Asks about all partners together, and remembers what need not be asked again.

    Args:
        most_groups: of one partner; more are left out.
    """

    def __init__(self, topics: LockTopics, most_groups: int) -> None:
        self._topics = topics
        self._most_groups = most_groups
        self._marks = Marks()
        self.entitled = EntitledCounter(topics)

    async def stream_ends(self, clients: Clients) -> dict[int, int]:
        """Returns where the stream ends. It has to be asked before the partners' topics are.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        return await clients.offsets.stable_ends(self._topics.lock_events, self._topics.numbers)

    async def know_counts(self, clients: Clients, partners: Sequence[Partner]) -> None:
        """Takes in what the fan-out's checkpoints say of these partners.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        at_once = asyncio.Semaphore(AT_ONCE)
        coordinators = await clients.admin.coordinators() if partners else {}

        async def know(partner: Partner) -> None:
            group = self._topics.fanout_group(partner.id)
            checkpoints = NOTHING_KNOWN
            if group in coordinators:
                async with at_once:
                    found = await clients.admin.group_offsets(group, coordinators[group])
                own = self._topics.lock_events
                checkpoints = {
                    tp.partition: Checkpoint(*at) for tp, at in found.items() if tp.topic == own
                }
            known = known_counts(partner, self._topics.partitions, checkpoints)
            self.entitled.know(partner.id, known)

        await asyncio.gather(*(know(partner) for partner in partners))

    async def read(
        self, clients: Clients, partners: Sequence[Partner], stream_ends: Mapping[int, int]
    ) -> list[PartnerReading]:
        """Returns how each partner stands, in the order asked for; what is undelivered by what
        ``entitled`` has counted.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
            KafkaRefused: we may not see a group or a topic.
        """
        coordinators = await clients.admin.coordinators()
        there = await clients.offsets.known([self._topics.partner_events(p.id) for p in partners])
        groups = by_owner(self._topics, coordinators, [p.id for p in partners])
        question = _Question(coordinators, groups, there, stream_ends)
        self._marks.begin()
        found: list[PartnerReading] = []
        for first in range(0, len(partners), PARTNERS_AT_ONCE):
            some = partners[first : first + PARTNERS_AT_ONCE]
            found += await self._read_some(clients, some, question)
            await asyncio.sleep(0)
        return found

    async def _read_some(
        self, clients: Clients, partners: Sequence[Partner], question: "_Question"
    ) -> list[PartnerReading]:
        topics = self._topics
        own = {p.id: topics.partner_events(p.id) for p in partners}
        if unseen := [topics.group(p.id) for p in partners if not question.groups[p.id]]:
            await clients.admin.check_groups_seen(unseen)
        groups = await read_own_groups(
            clients.admin,
            question.coordinators,
            {own[p.id]: question.groups[p.id][: self._most_groups] for p in partners},
        )
        partitions = {
            topic: [TopicPartition(topic, n) for n in topics.numbers]
            for topic in own.values()
            if topic in question.there
        }
        ranges = await _ranges(clients.offsets, [tp for of in partitions.values() for tp in of])
        positions = {
            topic: [
                _positions(group, partitions.get(topic, ()), ranges)
                for group in of_topic or [NOBODY]
            ]
            for topic, of_topic in groups.items()
        }
        waiting = [
            TopicPartition(own[p.id], number)
            for p in partners
            if own[p.id] in question.there
            for number in self.entitled.waiting_in(p.id)
        ]
        readers = [at for of_topic in positions.values() for at in of_topic]
        await self._marks.look_up(clients.records, ranges, _together(readers), waiting)
        retention = await clients.admin.topic_setting(partitions, RETENTION) if partitions else {}
        return [
            self._reading(
                partner,
                question,
                groups[topic],
                [unread(self._marks, ranges, at) for at in positions[topic]],
                any(ranges[tp][0] > 0 for tp in partitions.get(topic, ())),
                _milliseconds(retention.get(topic)),
            )
            for partner, topic in zip(partners, own.values(), strict=True)
        ]

    def _reading(
        self,
        partner: Partner,
        question: "_Question",
        groups: Sequence[OwnGroup],
        of_readers: Sequence[Unread],
        retention_went_on: bool,
        retention_ms: int | None,
    ) -> PartnerReading:
        topic = self._topics.partner_events(partner.id)
        lasts = {n: self._marks.last(TopicPartition(topic, n)) for n in self._topics.numbers}
        sequences = {number: mark.sequence for number, mark in lasts.items() if mark is not None}
        worst = furthest_behind(of_readers)
        if not groups:
            # Nobody can have read what is gone.
            worst = msgspec.structs.replace(worst, taken=retention_went_on)
        return PartnerReading(
            partner,
            self.entitled.undelivered(partner.id, question.stream_ends, sequences),
            worst,
            # Without a group, there is the one reader that stands for nobody.
            [
                GroupReading(group.name, group.members, one)
                for group, one in zip(groups, of_readers, strict=False)
            ],
            len(question.groups[partner.id]) - len(groups),
            retention_ms,
        )


class _Question(msgspec.Struct, frozen=True):
    """Holds what is asked once for all partners. ``groups``: by partner, the names of its own;
    ``there``: the partners' topics that exist."""

    coordinators: Mapping[str, int]
    groups: Mapping[str, Sequence[str]]
    there: Collection[str]
    stream_ends: Mapping[int, int]


async def _ranges(offsets: StableOffsetsClient, partitions: Sequence[TopicPartition]) -> Ranges:
    begins = await offsets.beginnings_of(partitions)
    ends = await offsets.ends_of(partitions)
    return {tp: (begins[tp], max(begins[tp], ends[tp])) for tp in partitions}


def _positions(
    group: OwnGroup, partitions: Collection[TopicPartition], ranges: Ranges
) -> dict[TopicPartition, int]:
    """Returns where a group goes on; at the beginning where it has committed nothing."""
    return {tp: group.committed.get(tp.partition, ranges[tp][0]) for tp in partitions}


def _together(readers: Collection[Mapping[TopicPartition, int]]) -> dict[TopicPartition, set[int]]:
    """Returns all positions at which anybody is, by partition."""
    found: dict[TopicPartition, set[int]] = {}
    for reader in readers:
        for tp, position in reader.items():
            found.setdefault(tp, set()).add(position)
    return found


def _milliseconds(text: str | None) -> int | None:
    return int(text) if text is not None and int(text) >= 0 else None
