"""Turns the facts of one partition into events and parked facts, and hands those to the fold."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from eventlog.records import Output, Record
from eventlog.stage.stage_partition import Batch, Fail, OutputLog
from projector.decisions import Decision, Duplicate, Parked, decide
from projector.fold_queue import FoldQueue
from projector.lock_uuids import LockUuids
from projector.metrics import UNREAD, DecisionCounts, ProjectorMetrics
from projector.parking import parked_record
from projector.partition_model import PartitionModel
from read_model.fold import CommittedEvent, ParkedFact, Stretch
from read_model.rows import Position
from read_model.store import ReadModel
from read_model.stretches import read_parked, read_stretch
from runtime.errors import PositionLost, StreamViolation
from schemas.lock_events import Event, EventHeaders, encode_event, event_type
from schemas.lock_facts import Fact, LockCreated, TempKeyUsed, decode_fact, fact_type
from schemas.parked_facts import ParkedHeaders
from schemas.primitives import printable, write_time
from schemas.records import Place
from schemas.topics import LockTopics, lock_key
from schemas.trace_context import TraceContext
from schemas.undecodable import Undecodable


class Projector(msgspec.Struct, frozen=True):
    """Holds what the partitions of one process share."""

    topics: LockTopics
    read_model: ReadModel
    fold_queue: FoldQueue
    lock_uuids: LockUuids
    metrics: ProjectorMetrics

    def make_partition(self, partition: int, fail: Fail) -> "ProjectorPartition":
        return ProjectorPartition(self, partition, fail)


class ProjectorBatch(Batch, frozen=True):
    """Hands its events and parked facts to the fold once they are committed. ``number``: under
    which ``model`` remembers it; ``written``: what the outputs say, in their order, without their
    offsets."""

    number: int
    written: Sequence[CommittedEvent | ParkedHeaders]
    counts: DecisionCounts
    metrics: ProjectorMetrics
    model: PartitionModel

    async def committed(self, offsets: Sequence[int]) -> None:
        """Hands what was committed to the fold. Waits while the fold is too far behind."""
        self.metrics.committed(self.counts)
        events: list[CommittedEvent] = []
        parked: list[ParkedFact] = []
        for written, offset in zip(self.written, offsets, strict=True):
            if isinstance(written, ParkedHeaders):
                parked.append(ParkedFact(offset, written))
            else:
                events.append(msgspec.structs.replace(written, offset=offset))
        await self.model.submit(self.number, events, parked)


class ProjectorPartition:
    """Implements ``eventlog.stage.stage_partition.StagePartition``."""

    note = ""

    def __init__(self, projector: Projector, partition: int, fail: Fail) -> None:
        self._projector = projector
        self._topics = projector.topics
        self._partition = partition
        self._model = PartitionModel(partition, projector.read_model, projector.fold_queue, fail)

    # -- restore -------------------------------------------------------------------------------

    async def restore(self, output: OutputLog) -> int:
        """Goes on where the output has come to. What the read model does not hold yet is remembered
        and handed to the fold. Nothing here waits for a database that can be read but not written:
        another replica may have been paused inside its transaction.

        Raises:
            StreamViolation: the output holds what no projector wrote, or the read model is ahead
                of it: it was folded from another log.
            PositionLost: events are gone that the read model does not hold.
            KafkaUnavailable: retention went on meanwhile.
            ReadModelUnavailable: the read model can't be read.
        """
        progress = await self._model.begin()
        self._projector.lock_uuids.follow(self._partition, self._model.states)
        # Parked facts first, here as everywhere: what the model's position among the events says
        # to be done with is then there to be found, whichever it became.
        parked_source = await self._restore_parked(
            output, progress.parked.get(self._partition, Position())
        )
        events_source = await self._restore_events(
            output, progress.events.get(self._partition, Position())
        )
        self._model.watch()
        return max(events_source, parked_source) + 1

    async def _restore_parked(self, output: OutputLog, at: Position) -> int:
        """Returns the largest ``source-offset`` in ``lock-facts.parked``."""
        topic = self._topics.parked_facts
        end = await output.high_watermark(topic)
        begin = max(at.next_offset, await output.beginning(topic))
        source = at.source_offset
        async for records in output.read(topic, begin, end):
            parked = [read_parked(topic, record) for record in records]
            source = parked[-1].headers.source_offset
            stretch = Stretch(self._partition, begin, records[-1].offset + 1, parked=parked)
            await self._model.submit_stretch(self._model.states.begin_batch(), stretch)
            begin = stretch.end
        self._model.next_parked_offset = begin
        return source

    async def _restore_events(self, output: OutputLog, at: Position) -> int:
        """Returns the largest ``source-offset`` in ``lock-events``."""
        topic, partition = self._topics.lock_events, self._partition
        end = await output.high_watermark(topic)
        if at.next_offset > end:
            raise StreamViolation(
                f"{topic}[{partition}] ends at {end}, but the read model has folded it up to "
                f"{at.next_offset}: it is of another log; run `lockstream rebuild`"
            )
        begin = await output.beginning(topic)
        if at.next_offset < min(begin, end):
            raise PositionLost(
                f"{topic}[{partition}] begins at {begin}, but the read model has folded it only up "
                f"to {at.next_offset}: the events between are gone"
            )
        begin, source = at.next_offset, at.source_offset
        async for records in output.read(topic, begin, end):
            stretch, source = read_stretch(topic, records, begin, source)
            await self._remember(stretch)
            begin = stretch.end
        return source

    async def _remember(self, stretch: Stretch) -> None:
        """Takes events in that the read model need not hold yet."""
        states = self._model.states
        states.forget()
        unknown = states.unknown_locks(record.event.lock_id for record in stretch.events)
        await self._model.learn(unknown, before=stretch.begin)
        batch = states.begin_batch()
        for record in stretch.events:
            self._check_version(record)
            states.record(record.event)
        await self._model.submit_stretch(batch, stretch)

    def _check_version(self, record: CommittedEvent) -> None:
        event = record.event
        lock = self._model.states.lock(event.lock_id)
        before = 0 if lock is None else lock.version
        if event.version != before + 1:
            place = Place(self._topics.lock_events, self._partition, record.offset)
            raise StreamViolation(
                f"{place}: lock {event.lock_id} is at version {before}, and the next event says "
                f"{event.version}"
            )

    # -- process -------------------------------------------------------------------------------

    async def process(self, records: Sequence[Record]) -> ProjectorBatch:
        """Decides what events and parked facts follow from these facts. Duplicates leave
        nothing."""
        states = self._model.states
        states.forget()
        read = [self._read(record) for record in records]
        await self._model.learn(states.lookups([f for f in read if not isinstance(f, Parked)]))
        number = states.begin_batch()
        recorded_at = write_time(datetime.now(UTC))
        counts = DecisionCounts()
        outputs: list[Output] = []
        written: list[CommittedEvent | ParkedHeaders] = []
        for record, fact in zip(records, read, strict=True):
            kind = UNREAD if isinstance(fact, Parked) else fact_type(fact)
            match fact if isinstance(fact, Parked) else self._decide(fact, recorded_at):
                case Duplicate():
                    counts.duplicate(kind)
                case Parked() as parked:
                    counts.parked(kind, parked.reason)
                    outputs.append(output := self._park(record, fact, parked, recorded_at))
                    written.append(ParkedHeaders.from_kafka(output.headers))
                case event:
                    counts.recorded(kind)
                    states.record(event)
                    value = encode_event(event)
                    outputs.append(self._publish(record, event, value))
                    written.append(CommittedEvent(-1, record.offset, event, value))
        return ProjectorBatch(
            outputs, len(records), number, written, counts, self._projector.metrics, self._model
        )

    def _read(self, record: Record) -> Fact | Parked:
        if record.value is None:
            return Parked("undecodable", "the record has no value")
        try:
            fact = decode_fact(record.value)
        except Undecodable as error:
            return Parked("undecodable", printable(str(error))[:500])
        if record.key != lock_key(fact.lock_id):
            return Parked("key-mismatch", f"the record's key is not the lock id {fact.lock_id}")
        home = self._topics.partition_of(fact.lock_id)
        if home != self._partition:
            return Parked(
                "wrong-partition",
                f"lock {fact.lock_id} belongs in partition {home}, not {self._partition}",
            )
        return fact

    def _decide(self, fact: Fact, recorded_at: str) -> Decision:
        states = self._model.states
        used = (
            states.used(fact.lock_id, fact.data.temp_key_uuid)
            if isinstance(fact, TempKeyUsed)
            else 0
        )
        return decide(
            fact,
            states.lock(fact.lock_id),
            uuid_owner=self._uuid_owner(fact),
            used_before=used,
            seen=states.seen(fact.event_id),
            recorded_at=recorded_at,
        )

    def _uuid_owner(self, fact: Fact) -> int | None:
        if not isinstance(fact, LockCreated):
            return None
        own = self._model.states.uuid_owner(fact.data.lock_uuid)
        return own if own is not None else self._projector.lock_uuids.owner(fact.data.lock_uuid)

    def _publish(self, record: Record, event: Event, value: bytes) -> Output:
        trace = TraceContext.of(record.headers)
        headers = EventHeaders(
            event_id=str(event.event_id),
            event_type=event_type(event),
            org_id=event.org_id,
            version=event.version,
            source_offset=record.offset,
            traceparent=trace.traceparent,
            tracestate=trace.tracestate,
        )
        return Output(
            self._topics.lock_events,
            lock_key(event.lock_id),
            value,
            headers.to_kafka(),
            record.offset,
        )

    def _park(self, record: Record, fact: Fact | Parked, parked: Parked, parked_at: str) -> Output:
        """Makes the parked record. ``fact``: as far as it could be read."""
        read = None if isinstance(fact, Parked) else fact
        headers = ParkedHeaders(
            reason=parked.reason,
            detail=parked.detail,
            source_topic=self._topics.lock_facts,
            source_offset=record.offset,
            parked_at=parked_at,
            event_id=str(read.event_id) if read is not None else None,
            lock_id=read.lock_id if read is not None else None,
            org_id=read.actor.org_id if read is not None else None,
        )
        return parked_record(self._topics.parked_facts, record, headers)
