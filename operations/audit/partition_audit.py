"""Audits one partition of all topics side by side: facts, events, parked facts, partners."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import msgspec

from eventlog.kafka import Kafka
from eventlog.log_reader import FEW_AT_ONCE, LogReader
from eventlog.records import Record
from operations.audit.cursor import Cursor
from operations.audit.event_ids import EventIds
from operations.audit.plan import Deliveries, Plan
from operations.audit.read_model_audit import ReadModelAudit
from operations.audit.stream_checks import EventChecks, PartnerChecks, ReadEvent, read_event
from operations.audit.violations import Violation
from operations.shared.offset_ranges import OffsetRanges
from runtime.settings import Settings
from schemas.lock_facts import Fact, decode_fact
from schemas.parked_facts import ParkedHeaders
from schemas.undecodable import Undecodable

FETCH_BYTES = 256 * 1024
"""Of each topic: every partner has one."""

Advance = Callable[[int], None]


class Dropped(msgspec.Struct, frozen=True):
    """A fact that left neither an event nor a parked record: it has to be a duplicate."""

    offset: int
    event_id: str


class PartitionAudit:
    """Audits one partition. ``lag``: by partner, the events that it hasn't got yet."""

    def __init__(
        self,
        kafka: Kafka,
        settings: Settings,
        plan: Plan,
        partition: int,
        ids: EventIds,
        lock_uuids: EventIds,
    ) -> None:
        self._kafka = kafka
        self._settings = settings
        self._plan = plan
        self._partition = partition
        self._ids = ids
        self._lock_uuids = lock_uuids
        self.dropped: list[Dropped] = []
        self.lag: dict[str, int] = {}

    async def run(self, model: ReadModelAudit, advance: Advance) -> AsyncIterator[Violation]:
        """Yields every violation of the partition as it is found.

        Raises:
            KafkaUnavailable: the log can't be read.
            ReadModelUnavailable: the database can't be asked.
        """
        reached = self._plan.events.begin[self._partition]
        topics, partition = self._settings.topics, self._partition
        checks = EventChecks(
            topics.lock_events, partition, self._settings.partitions, self._lock_uuids
        )
        async with AsyncExitStack() as stack:
            events = await self._cursor(stack, topics.lock_events, self._plan.events)
            facts = _FactMerge(
                topics.lock_facts,
                partition,
                await self._cursor(stack, topics.lock_facts, self._plan.facts),
                await self._cursor(stack, topics.parked_facts, self._plan.parked),
                self._plan.facts.begin[partition],
            )
            partners = [await self._partner(stack, one) for one in self._plan.deliveries]
            while (record := events.at_hand or await events.peek()) is not None:
                events.advance()
                try:
                    read = read_event(record)
                except ValueError as error:
                    yield checks.unreadable(record, str(error))
                    continue
                self._ids.add(read.headers.event_id)
                for violation in checks.check(read):
                    yield violation
                if not facts.matches(read):
                    async for violation in facts.up_to(read, topics.lock_events):
                        yield violation
                for partner in partners:
                    async for violation in partner.event(read):
                        yield violation
                model.add(read)
                if model.is_due:
                    for violation in await model.check_events():
                        yield violation
                    advance(read.offset - reached)
                    reached = read.offset
            for violation in (*await model.check_events(), *await model.check_locks()):
                yield violation
            advance(self._plan.events.end[self._partition] - reached)
            for partner in partners:
                async for violation in partner.rest():
                    yield violation
                if partner.counts_as_lag:
                    self.lag[partner.partner_id] = partner.lag
            self.dropped = facts.dropped

    async def _cursor(self, stack: AsyncExitStack, topic: str, ranges: OffsetRanges) -> Cursor:
        reader = await stack.enter_async_context(LogReader.open(self._kafka, FETCH_BYTES))
        p = self._partition
        begin, end = {p: ranges.begin[p]}, {p: ranges.end[p]}
        return Cursor(reader.read(topic, begin, end, FEW_AT_ONCE))

    async def _partner(self, stack: AsyncExitStack, deliveries: Deliveries) -> "_PartnerMerge":
        entry, ranges, topic = deliveries.entry, deliveries.ranges, deliveries.topic
        cursor = await self._cursor(stack, topic, ranges)
        begin, sequence = entry.begins(self._settings.partitions)[self._partition], 0
        positions = self._plan.positions
        first = await cursor.peek()
        if first is not None and ranges.begin[self._partition] > 0:
            # Retention has deleted the beginning: it is audited from what is left.
            with suppress(Undecodable):
                position = positions.read(topic, first)
                begin, sequence = position.source_offset, position.sequence - 1
        replay = deliveries.replay
        checks = PartnerChecks(topic, self._partition, entry, begin, sequence, positions, replay)
        # Retention may have left nothing, not even the end.
        is_emptied = first is None and ranges.begin[self._partition] > 0
        ends = replay is not None and replay.status == "ended" and not is_emptied
        return _PartnerMerge(entry.id, cursor, checks, of_replay=replay is not None, ends=ends)


class _PartnerMerge:
    """Compares a partner's records with the events that it is entitled to. ``of_replay``: it is
    sent them once more; ``ends``: an end marker has to be there."""

    def __init__(
        self,
        partner_id: str,
        cursor: Cursor,
        checks: PartnerChecks,
        *,
        of_replay: bool = False,
        ends: bool = False,
    ) -> None:
        self.partner_id = partner_id
        self.lag = 0
        self.counts_as_lag = not of_replay
        self._ends = ends
        self._cursor = cursor
        self._checks = checks

    async def event(self, read: ReadEvent) -> AsyncIterator[Violation]:
        if not self._checks.entitled(read):
            return
        while (record := await self._cursor.peek()) is not None:
            position = self._checks.position(record)
            if position is not None and position.source_offset > read.offset:
                yield self._checks.missing(read)
                return
            self._cursor.advance()
            for violation in self._checks.check_record(record):
                yield violation
            if position is None:
                continue
            if position.source_offset == read.offset:
                for violation in self._checks.check_pair(record, read):
                    yield violation
                return
            yield self._checks.foreign(position.source_offset)
        self.lag += 1

    async def rest(self) -> AsyncIterator[Violation]:
        """Checks the records beyond the last event that this partner is entitled to."""
        while (record := await self._cursor.peek()) is not None:
            self._cursor.advance()
            for violation in self._checks.check_record(record):
                yield violation
            position = self._checks.position(record)
            if position is not None:
                for violation in self._checks.check_rest(record, position):
                    yield violation
        if self._ends and not self._checks.has_ended:
            yield self._checks.without_end()


class _FactMerge:
    """Compares facts with what became of them."""

    def __init__(
        self, topic: str, partition: int, facts: Cursor, parked: Cursor, retained_from: int
    ) -> None:
        self._topic = topic
        self._partition = partition
        self._facts = facts
        self._parked = parked
        self._retained_from = retained_from
        self.dropped: list[Dropped] = []

    def matches(self, read: ReadEvent) -> bool:
        """Takes this event's own fact if it comes next and is here already, as nearly all do."""
        record = self._facts.at_hand
        if record is None or record.offset != read.headers.source_offset:
            return False
        fact = _read_fact(record)
        if fact is not None and fact.event_id.int == read.event.event_id.int:
            self._facts.advance()
            return True
        return False

    async def up_to(self, read: ReadEvent, events_topic: str) -> AsyncIterator[Violation]:
        """Checks all facts before this event's, and its own."""
        source = read.headers.source_offset
        while (record := await self._facts.peek()) is not None and record.offset < source:
            self._facts.advance()
            if not await self._was_parked(record.offset):
                for violation in self._drop(record):
                    yield violation
        if source < self._retained_from:
            return
        fact = None
        if record is not None and record.offset == source:
            self._facts.advance()
            fact = _read_fact(record)
        if fact is None or fact.event_id.int != read.event.event_id.int:
            yield Violation(
                "event-without-fact",
                events_topic,
                self._partition,
                read.offset,
                f"lock-facts offset {source} is not the fact of event {read.headers.event_id}",
            )

    async def _was_parked(self, offset: int) -> bool:
        while (record := await self._parked.peek()) is not None:
            source = _parked_source(record)
            if source is not None and source >= offset:
                return source == offset
            self._parked.advance()
        return False

    def _drop(self, record: Record) -> list[Violation]:
        fact = _read_fact(record)
        if fact is None:
            detail = "it became neither an event nor a parked record"
            return [
                Violation("fact-passed-over", self._topic, self._partition, record.offset, detail)
            ]
        self.dropped.append(Dropped(record.offset, str(fact.event_id)))
        return []


def _parked_source(record: Record) -> int | None:
    try:
        return ParkedHeaders.from_kafka(record.headers).source_offset
    except ValueError:
        return None


def _read_fact(record: Record) -> Fact | None:
    try:
        return decode_fact(record.value or b"")
    except Undecodable:
        return None
