"""One partition of the projector: facts in, events and parked facts out, the read model behind."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

from eventlog.records import Output, Record
from eventlog.stage.stage_partition import Decided, Fail, OutputLog
from projector.decisions import Decision, Duplicate, Parked, decide
from projector.fold_queue import FoldQueue, Pending
from projector.lock_states import LockStates
from projector.lock_uuids import LockUuids
from projector.metrics import Decisions, ProjectorMetrics
from projector.own_output import read_parked, read_stretch
from projector.parking import parked_record
from read_model.fold import CommittedEvent, ParkedFact, Stretch
from read_model.rows import Known, Position
from read_model.store import ReadModel, ReadModelMoved
from runtime.errors import LockstreamError, PositionLost, StreamViolation
from schemas.lock_events import (
    Event,
    EventHeaders,
    encode_event,
    event_type,
)
from schemas.lock_facts import (
    Fact,
    LockCreated,
    TempKeyUsed,
    decode_fact,
    fact_type,
)
from schemas.parked_facts import ParkedHeaders
from schemas.primitives import printable, write_time
from schemas.topics import LockTopics, lock_key, partition_of
from schemas.trace_context import TraceContext
from schemas.undecodable import Undecodable


class ProjectorPartition:
    """Implements ``eventlog.stage_partition.StagePartition``."""

    def __init__(
        self,
        topics: LockTopics,
        partitions: int,
        partition: int,
        read_model: ReadModel,
        fold_queue: FoldQueue,
        lock_uuids: LockUuids,
        fail: Fail,
        metrics: ProjectorMetrics,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._topics = topics
        self._partitions = partitions
        self._partition = partition
        self._read_model = read_model
        self._fold_queue = fold_queue
        self._lock_uuids = lock_uuids
        self._fail = fail
        self._metrics = metrics
        self._now = now
        self._states = LockStates(-1)
        self._batch = 0
        self._next_event_offset = 0
        self._next_parked_offset = 0
        self._generation = 0
        self._folded_to = 0
        self._written: list[CommittedEvent | ParkedHeaders] = []
        self._decisions = Decisions()

    @property
    def note(self) -> str:
        return ""

    # -- restore -------------------------------------------------------------------------------

    async def restore(self, output: OutputLog) -> int:
        """Goes on where the output has come to. What the read model does not hold yet is remembered
        and handed to the fold: nothing here waits for a database that can be read, but not written
        (another replica may have been paused inside its transaction).

        Raises:
            StreamViolation: the output holds what no projector wrote, or the read model is ahead
                of it: it was folded from another log.
            PositionLost: events are gone that the read model does not hold.
            KafkaUnavailable: retention went on meanwhile.
            ReadModelUnavailable: the read model can't be read.
        """
        self._fold_queue.drop(self._partition)
        progress = await self._read_model.progress()
        self._generation = progress.generation
        events_at = progress.events.get(self._partition, Position())
        parked_at = progress.parked.get(self._partition, Position())
        self._states = LockStates(events_at.newest_id_ms)
        self._lock_uuids.follow(self._partition, self._states)
        self._folded_to = events_at.next_offset
        # Parked facts first, here as everywhere: what the model's position among the events says
        # to be done with is then there to be found, whichever it became.
        parked_source = await self._restore_parked(output, parked_at)
        events_source = await self._restore_events(output, events_at)
        self._fold_queue.watch(self._partition, self, self._generation, self._folded_to)
        return max(events_source, parked_source) + 1

    async def _restore_events(self, output: OutputLog, at: Position) -> int:
        """The largest ``source-offset`` in ``lock-events``."""
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
        self._next_event_offset, source = at.next_offset, at.source_offset
        async for records in output.read(topic, at.next_offset, end):
            stretch, source = read_stretch(topic, records, self._next_event_offset, source)
            await self._remember(stretch)
        return source

    async def _remember(self, stretch: Stretch) -> None:
        """Takes events in that the read model need not hold yet."""
        self._states.forget()
        unknown = self._states.unknown_locks(record.event.lock_id for record in stretch.events)
        if unknown.locks:
            folded_to = self._folded_to
            known = await self._read_model.known(self._partition, unknown.locks, (), (), ())
            self._check_generation(known)
            if not folded_to <= known.position.next_offset <= stretch.begin:
                raise ReadModelMoved(
                    f"the read model of partition {self._partition} is at "
                    f"{known.position.next_offset}, not between {folded_to} and {stretch.begin}: "
                    "another replica still folds it, or it is being rebuilt"
                )
            self._states.learn(unknown, known)
        batch = self._states.begin_batch()
        for record in stretch.events:
            self._check_version(record)
            self._states.record(record.event)
        self._next_event_offset = stretch.end
        await self._submit(batch, stretch)

    async def _submit(self, batch: int, stretch: Stretch) -> None:
        follows = msgspec.structs.replace(stretch, generation=self._generation)
        await self._fold_queue.submit(Pending(self, batch, follows))

    def _check_generation(self, known: Known) -> None:
        if known.generation != self._generation:
            raise ReadModelMoved(
                f"the read model of partition {self._partition} was emptied or replaced"
            )

    def _check_version(self, record: CommittedEvent) -> None:
        event = record.event
        lock = self._states.lock(event.lock_id)
        before = 0 if lock is None else lock.version
        if event.version != before + 1:
            raise StreamViolation(
                f"{self._topics.lock_events}[{self._partition}] offset {record.offset}: lock "
                f"{event.lock_id} is at version {before}, and the next event says {event.version}"
            )

    async def _restore_parked(self, output: OutputLog, at: Position) -> int:
        """The largest ``source-offset`` in ``lock-facts.parked``."""
        topic, partition = self._topics.parked_facts, self._partition
        end = await output.high_watermark(topic)
        begin = max(at.next_offset, await output.beginning(topic))
        source = at.source_offset
        async for records in output.read(topic, begin, end):
            parked = [read_parked(topic, record) for record in records]
            source = parked[-1].headers.source_offset
            stretch = Stretch(partition, begin, records[-1].offset + 1, parked=parked)
            await self._submit(self._states.begin_batch(), stretch)
            begin = stretch.end
        self._next_parked_offset = begin
        return source

    # -- process -------------------------------------------------------------------------------

    async def process(self, records: Sequence[Record]) -> Decided:
        """The events and parked facts that follow from these facts. Duplicates leave nothing."""
        self._states.forget()
        read = [self._read(record) for record in records]
        facts = [fact for fact in read if not isinstance(fact, Parked)]
        asked = self._states.lookups(facts)
        if asked:
            # What is folded in while we wait need not be in the answer.
            folded_to = self._folded_to
            known = await self._read_model.known(
                self._partition, asked.locks, asked.temp_keys, asked.event_ids, asked.lock_uuids
            )
            self._check_generation(known)
            if known.position.next_offset < folded_to:
                raise ReadModelMoved(
                    f"the read model of partition {self._partition} has gone back to "
                    f"{known.position.next_offset}: it is being rebuilt"
                )
            self._states.learn(asked, known)
        self._batch = self._states.begin_batch()
        recorded_at = write_time(self._now())
        self._written = []
        self._decisions = decisions = Decisions()
        outputs: list[Output] = []
        for record, fact in zip(records, read, strict=True):
            if isinstance(fact, Parked):
                decisions.parked(None, fact.reason)
                outputs.append(self._park(record, None, fact, recorded_at))
                continue
            match self._decide(fact, recorded_at):
                case Duplicate():
                    decisions.duplicate(fact_type(fact))
                case Parked() as parked:
                    decisions.parked(fact_type(fact), parked.reason)
                    outputs.append(self._park(record, fact, parked, recorded_at))
                case event:
                    decisions.recorded(fact_type(fact))
                    self._states.record(event)
                    outputs.append(self._publish(record, event))
        return Decided(outputs, len(records))

    def _read(self, record: Record) -> Fact | Parked:
        if record.value is None:
            return Parked("undecodable", "the record has no value")
        try:
            fact = decode_fact(record.value)
        except Undecodable as error:
            return Parked("undecodable", printable(str(error))[:500])
        if record.key != lock_key(fact.lock_id):
            return Parked("key-mismatch", f"the record's key is not the lock id {fact.lock_id}")
        if partition_of(fact.lock_id, self._partitions) != self._partition:
            return Parked(
                "wrong-partition",
                f"lock {fact.lock_id} belongs in partition "
                f"{partition_of(fact.lock_id, self._partitions)}, not {self._partition}",
            )
        return fact

    def _decide(self, fact: Fact, recorded_at: str) -> Decision:
        used = (
            self._states.used(fact.lock_id, fact.data.temp_key_uuid)
            if isinstance(fact, TempKeyUsed)
            else 0
        )
        return decide(
            fact,
            self._states.lock(fact.lock_id),
            uuid_owner=self._uuid_owner(fact),
            used_before=used,
            seen=self._states.seen(fact.event_id),
            recorded_at=recorded_at,
        )

    def _uuid_owner(self, fact: Fact) -> int | None:
        if not isinstance(fact, LockCreated):
            return None
        own = self._states.uuid_owner(fact.data.lock_uuid)
        return own if own is not None else self._lock_uuids.owner(fact.data.lock_uuid)

    def _publish(self, record: Record, event: Event) -> Output:
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
        value = encode_event(event)
        self._written.append(CommittedEvent(-1, record.offset, event, value))
        return Output(self._topics.lock_events, lock_key(event.lock_id), value, headers.to_kafka())

    def _park(self, record: Record, fact: Fact | None, parked: Parked, parked_at: str) -> Output:
        headers = ParkedHeaders(
            reason=parked.reason,
            detail=parked.detail,
            source_topic=self._topics.lock_facts,
            source_offset=record.offset,
            parked_at=parked_at,
            event_id=str(fact.event_id) if fact is not None else None,
            lock_id=fact.lock_id if fact is not None else None,
            org_id=fact.actor.org_id if fact is not None else None,
        )
        output = parked_record(self._topics.parked_facts, record, headers)
        self._written.append(ParkedHeaders.from_kafka(output.headers))
        return output

    async def committed(self, offsets: Sequence[int]) -> None:
        """Hands what was committed to the fold. Waits while the fold is too far behind."""
        self._metrics.committed(self._decisions)
        events: list[CommittedEvent] = []
        parked: list[ParkedFact] = []
        for written, offset in zip(self._written, offsets, strict=True):
            if isinstance(written, ParkedHeaders):
                parked.append(ParkedFact(offset, written))
            else:
                events.append(msgspec.structs.replace(written, offset=offset))
        if parked:
            end = parked[-1].offset + 1
            stretch = Stretch(self._partition, self._next_parked_offset, end, parked=parked)
            self._next_parked_offset = end
            await self._submit(self._batch, stretch)
        if events:
            end = events[-1].offset + 1
            stretch = Stretch(self._partition, self._next_event_offset, end, events=events)
            self._next_event_offset = end
            await self._submit(self._batch, stretch)

    # -- fold_queue.Owner ------------------------------------------------------------------------

    def folded(self, batch: int, stretch: Stretch) -> None:
        # A batch's parked facts are folded before its events: they say nothing of those.
        if stretch.events:
            self._states.folded(batch)
            self._folded_to = max(self._folded_to, stretch.end)

    def fold_failed(self, error: LockstreamError) -> None:
        self._fail(error)
