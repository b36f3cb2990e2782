"""Compares a partner's topic with the stream, to find what it is entitled to and was not sent.

One partition after the other, both topics are read side by side, so memory does not grow with what
is found. The ends of the stream are taken before those of the partner's topic: what is written
meanwhile can't look as if it were missing.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec

from eventlog.clients.offsets_client import StableOffsetsClient
from eventlog.groups import group_checkpoints
from eventlog.log_reader import FEW_AT_ONCE, LogReader
from eventlog.records import Record
from eventlog.topic_setup import topic_exists
from fanout.decisions import delivers
from fanout.positions import Position, Positions
from fanout.undelivered import Counted, known_counts
from operations.shared.installation import Installation
from operations.shared.offset_ranges import OffsetRanges
from schemas.lock_events import EventHeaders, decode_event
from schemas.primitives import write_time
from schemas.registry import Partner
from schemas.undecodable import Undecodable

Advance = Callable[[int], None]


class MissingEvent(msgspec.Struct, frozen=True, rename="camel"):
    """Describes an event that the partner was not sent. ``age_seconds``: since it was written to
    the stream."""

    event_id: str
    type: str
    lock_id: str
    version: int
    recorded_at: str
    partition: int
    offset: int
    age_seconds: float


class Findings(msgspec.Struct):
    """Counts what is found. ``first``, ``last``: by when they were recorded; ``passed_over``: how
    many were not sent among those before the first that retention has left in the partner's topic;
    ``unknown``: the partitions of which nobody knows any more what was sent; ``foreign``: records
    in the partner's topic that this installation did not write, or can't read any more."""

    undelivered: int = 0
    overdue: int = 0
    first: MissingEvent | None = None
    last: MissingEvent | None = None
    passed_over: int = 0
    unknown: list[int] = msgspec.field(default_factory=list)
    foreign: int = 0

    def add(self, event: MissingEvent, overdue_s: float) -> None:
        self.undelivered += 1
        self.overdue += event.age_seconds > overdue_s
        if self.first is None or event.recorded_at < self.first.recorded_at:
            self.first = event
        if self.last is None or event.recorded_at >= self.last.recorded_at:
            self.last = event


class MissingScan:
    """Reads all that a partner is entitled to, beside what it was sent. Everything raises
    ``KafkaUnavailable`` if the broker can't be reached in time, and ``KafkaRefused`` if it does not
    let us."""

    def __init__(self, here: Installation, partner: Partner, overdue_s: float) -> None:
        self.findings = Findings()
        self._here = here
        self._kafka = here.kafka
        self._topics = here.settings.topics
        self._own = self._topics.partner_events(partner.id)
        self._partner = partner
        self._overdue_s = overdue_s
        self._known: Mapping[int, Counted] = {}
        self._has_topic = False
        self._positions = Positions(None)

    async def plan(self) -> OffsetRanges:
        """Returns what is to be read of the stream."""
        topics, numbers = self._topics, self._topics.numbers
        checkpoints = await group_checkpoints(
            self._kafka, topics.fanout_group(self._partner.id), topics.lock_events
        )
        registry = await self._here.read_registry()
        self._positions = Positions(registry.position_key)
        self._known = known_counts(self._partner, len(numbers), checkpoints)
        async with self._kafka.stable_offsets_client() as client:
            ends = await client.stable_ends(topics.lock_events, numbers)
            first = await client.beginnings(topics.lock_events, numbers)
        self._has_topic = await topic_exists(self._kafka, self._own)
        begins = self._partner.begins(len(numbers))
        return OffsetRanges({p: max(first[p], begins[p]) for p in numbers}, ends)

    async def run(
        self, ranges: OffsetRanges, advance: Advance
    ) -> AsyncGenerator[MissingEvent, None]:
        """Yields every event that the partner was not sent, and counts them in ``findings``.

        Raises:
            PositionLost: retention has deleted a record that was to be read: try again.
        """
        async with (
            self._kafka.stable_offsets_client() as client,
            LogReader.open(self._kafka) as stream,
            LogReader.open(self._kafka, fetch_wait_ms=20) as own,
        ):
            for number in self._topics.numbers:
                begin, end = {number: ranges.begin[number]}, {number: ranges.end[number]}
                sent_range = await self._sent_range(client, number)
                looked_at = time.time()
                async with (
                    aclosing(own.read(self._own, *sent_range, FEW_AT_ONCE)) as sent_batches,
                    aclosing(stream.read(self._topics.lock_events, begin, end)) as events,
                ):
                    sent = _Sent(sent_batches, self._position)
                    before = await self._sent_before(sent, number, sent_range[0].get(number, 0))
                    if before is None:
                        self.findings.unknown.append(number)
                        advance(max(0, end[number] - begin[number]))
                        continue
                    async for record, headers in self._compare(
                        _counted(events, begin[number], end[number], advance), sent, before
                    ):
                        event = _missing(record, headers, looked_at)
                        self.findings.add(event, self._overdue_s)
                        yield event

    async def _sent_range(
        self, client: StableOffsetsClient, number: int
    ) -> tuple[dict[int, int], dict[int, int]]:
        """Returns what stands in the partner's topic now: in a long run, retention moves on."""
        if not self._has_topic:
            return {}, {}
        begin = await client.beginnings(self._own, [number])
        return begin, await client.stable_ends(self._own, [number])

    async def _sent_before(self, sent: "_Sent", number: int, begin: int) -> Counted | None:
        """Returns up to where retention has taken what was sent, and how much that was; None if
        nobody knows any more."""
        start = Counted(self._partner.begins(self._topics.partitions)[number], 0)
        first = await sent.peek()
        if first is not None and first.sequence > 1:
            return Counted(first.source_offset, first.sequence - 1)
        if first is not None or begin == 0:
            return start
        known = self._known[number]
        return known if known.offset > start.offset else None

    async def _compare(
        self, events: AsyncIterator[list[Record]], sent: "_Sent", before: Counted
    ) -> AsyncIterator[tuple[Record, EventHeaders]]:
        """Yields the events of a partition that are missing."""
        entitled_before = 0
        async for records in events:
            for record in records:
                headers = _headers(record)
                if headers is None or not delivers(
                    headers, self._partner, record.partition, record.offset
                ):
                    continue
                if record.offset < before.offset:
                    entitled_before += 1
                elif not await sent.has(record.offset):
                    yield record, headers
        self.findings.passed_over += max(0, entitled_before - before.entitled)

    def _position(self, record: Record) -> Position | None:
        try:
            return self._positions.read(self._own, record)
        except Undecodable:
            self.findings.foreign += 1
            return None


class _Sent:
    """Goes over the positions of what the partner was sent. ``read``: returns None for a record
    without one, which is passed over."""

    def __init__(
        self, batches: AsyncIterator[list[Record]], read: Callable[[Record], Position | None]
    ) -> None:
        self._batches = batches
        self._read = read
        self._positions: list[Position] = []
        self._at = 0

    async def peek(self) -> Position | None:
        """Returns the next position; None at the end."""
        while self._at >= len(self._positions):
            try:
                records = await anext(self._batches)
            except StopAsyncIteration:
                return None
            read = (self._read(record) for record in records)
            self._positions, self._at = [one for one in read if one is not None], 0
        return self._positions[self._at]

    async def has(self, offset: int) -> bool:
        """Returns whether the event at this offset was sent. Offsets must increase."""
        while (position := await self.peek()) is not None and position.source_offset < offset:
            self._at += 1
        return position is not None and position.source_offset == offset


async def _counted(
    batches: AsyncIterator[list[Record]], begin: int, end: int, advance: Advance
) -> AsyncIterator[list[Record]]:
    """Yields the same, and says how far it has come."""
    async for records in batches:
        yield records
        behind = records[-1].offset + 1
        advance(behind - begin)
        begin = behind
    advance(max(0, end - begin))


def _headers(record: Record) -> EventHeaders | None:
    """Returns the headers of an event; None for a record that no projector wrote, which goes to
    nobody."""
    try:
        return EventHeaders.from_kafka(record.headers)
    except Undecodable:
        return None


def _missing(record: Record, headers: EventHeaders, looked_at: float) -> MissingEvent:
    written_at = record.timestamp_ms / 1000
    try:
        recorded_at = decode_event(record.value or b"").recorded_at
    except Undecodable:
        recorded_at = write_time(datetime.fromtimestamp(written_at, UTC))
    return MissingEvent(
        event_id=headers.event_id,
        type=headers.event_type,
        lock_id=(record.key or b"").decode(errors="replace"),
        version=headers.version,
        recorded_at=recorded_at,
        partition=record.partition,
        offset=record.offset,
        age_seconds=round(max(0.0, looked_at - written_at), 1),
    )
