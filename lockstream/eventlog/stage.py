"""The exactly-once stage: a consumer group whose members are the single writers of the partitions
that they are assigned. The projector and every partner's fan-out are stages.

Fence, restore, consume. On taking a partition its transactional id is taken over, then its state
and position are restored from its output, then it consumes. Group membership only shares out the
work: what makes a late or paused process harmless is the fence, and that restoring follows it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import OffsetAndMetadata

from lockstream.eventlog.feed import Feed
from lockstream.eventlog.kafka import (
    REQUEST_TIMEOUT_S,
    Kafka,
    Record,
    beginnings,
    high_watermarks,
    kafka_errors,
    start_client,
    stop_client,
    to_record,
)
from lockstream.eventlog.log_reader import LogReader
from lockstream.eventlog.rest import Rest
from lockstream.eventlog.stage_metrics import PartitionLag, StageCounts
from lockstream.eventlog.stage_partition import (
    Checkpoint,
    Decided,
    MakePartition,
    OutputLog,
    StagePartition,
)
from lockstream.eventlog.stage_traces import StageTraces
from lockstream.eventlog.transactional_writer import TransactionalWriter
from lockstream.runtime.errors import (
    KafkaUnavailable,
    PositionLost,
    StageStopped,
    StreamViolation,
    Unavailable,
)
from lockstream.runtime.process import within
from lockstream.runtime.readiness import Readiness

log = logging.getLogger(__name__)

POLL_MS = 200
POLL_DEADLINE_S = 1.0
BATCH_RECORDS = 1_000
BATCH_BYTES = 2 * 1024 * 1024
DRAIN_S = 6.0
"""Seconds that a revoked partition may take to finish its transaction."""
CHECKPOINT_EVERY_S = 5.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class StageName(msgspec.Struct, frozen=True):
    """``group``: the consumer group; ``transactional_prefix``: of ``<prefix>.<partition>``."""

    label: str
    group: str
    transactional_prefix: str
    input_topic: str


class _Owned:
    """One assigned partition."""

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.feed = Feed()
        self.paused = False
        self.checkpoint: Checkpoint | None = None
        self.stopped: str | None = None
        self.in_work: Sequence[Record] = ()
        self.rests_until = 0.0
        self.task: asyncio.Task[None] | None = None


class Stage:
    """Runs one stage in this process, on whatever partitions the group gives it."""

    def __init__(
        self,
        kafka: Kafka,
        name: StageName,
        make_partition: MakePartition,
        readiness: Readiness,
        counts: StageCounts,
        traces: StageTraces,
        rest: Rest,
        instance_id: str | None = None,
    ) -> None:
        self._kafka = kafka
        self._name = name
        self._make_partition = make_partition
        self._readiness = readiness
        self._counts = counts
        self._traces = traces
        self._instance_id = instance_id
        self._rest = rest
        self._owned: dict[int, _Owned] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._consumer: Any = None
        self._offsets: Any = None
        self._workers: asyncio.TaskGroup | None = None
        self._listener = _Listener(self._assigned, self._revoked)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop`` is set, then finishes what is under way and leaves the group.

        Raises:
            KafkaUnavailable: the broker can't be reached at the start, or the group refuses us.
        """
        self._readiness.block(self._name.label, "joining its group")
        self._consumer = self._kafka.group_consumer(self._name.group, self._instance_id)
        self._offsets = self._kafka.offsets_client()
        try:
            await start_client(self._offsets, "connecting to Kafka")
            self._consumer.subscribe([self._name.input_topic], listener=self._listener)
            async with asyncio.TaskGroup() as workers:
                self._workers = workers
                await start_client(self._consumer, f"joining group {self._name.group}")
                checkpoints = workers.create_task(self._write_checkpoints())
                try:
                    await self._pump(stop)
                finally:
                    self._leaving = True
                    checkpoints.cancel()
                    await self._revoked(())
                    await self._checkpoint_all()
        finally:
            await stop_client(self._consumer)
            await stop_client(self._offsets)
            if self._closing:
                await asyncio.wait(self._closing, timeout=3.0)

    def status(self) -> dict[str, object]:
        """Per assigned partition: position, high watermark as last seen, lag in records."""
        partitions: dict[str, object] = {}
        for partition, owned in sorted(self._owned.items()):
            partitions[str(partition)] = {
                "nextOffset": owned.checkpoint.next_offset if owned.checkpoint else None,
                "highWatermark": self._consumer.highwater(owned.tp),
                "lag": self._lag(owned),
                "stopped": owned.stopped,
            }
        return partitions

    def lag(self) -> list[PartitionLag]:
        """How far each assigned partition is behind."""
        now_ms = time.time() * 1000
        found: list[PartitionLag] = []
        for partition, owned in sorted(self._owned.items()):
            records = self._lag(owned)
            oldest = owned.in_work[0].timestamp_ms if owned.in_work else owned.feed.oldest_ms
            seconds = max(0.0, (now_ms - oldest) / 1000) if oldest is not None else None
            if records == 0:
                seconds = 0.0
            found.append(PartitionLag(partition, records, seconds, owned.stopped is not None))
        return found

    def _lag(self, owned: _Owned) -> int | None:
        """Records fetched and not done with, and offsets not fetched yet. Of a partition that does
        not work now: offsets beyond the last one done with, markers included."""
        subscription = self._consumer._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(owned.tp) if assignment is not None else None
        if state is None or state.highwater is None or not state.has_valid_position:
            return None
        if not owned.feed.is_open:
            if owned.checkpoint is None:
                return None
            return max(0, int(state.highwater) - owned.checkpoint.next_offset)
        unfetched: int = max(0, state.highwater - state.position)
        return unfetched + len(owned.feed) + len(owned.in_work)

    # -- the fetch loop ------------------------------------------------------------------------

    async def _pump(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._listener.check()
            for tp, messages in (await self._fetch()).items():
                owned = self._owned.get(tp.partition)
                if owned is None or not owned.feed.is_open:
                    continue
                owned.feed.offer([to_record(m) for m in messages])
                if owned.feed.is_full:
                    owned.paused = True
                    # A partition that is being revoked can't be paused any more, and need not.
                    with suppress(KafkaError):
                        self._consumer.pause(tp)

    async def _fetch(self) -> Mapping[Any, Sequence[Any]]:
        """One poll. Everything fetched is taken out at once: what is left behind would hold up
        the fetches of all other partitions on that broker."""
        try:
            async with asyncio.timeout(POLL_DEADLINE_S):
                batches: Mapping[Any, Sequence[Any]] = await self._consumer.getmany(
                    timeout_ms=POLL_MS
                )
        except TimeoutError:
            # During a rebalance it waits for an assignment, for as long as that takes. It takes
            # records out only after its last wait, so none is lost here.
            return {}
        except NoOffsetForPartitionError:
            # A new partition whose owner has not sought to its position yet.
            return {}
        except OffsetOutOfRangeError as error:
            self._fail_out_of_range(error)
            return {}
        except KafkaError as error:
            raise KafkaUnavailable(f"{self._name.group}: {error!r}") from error
        return batches

    def _fail_out_of_range(self, error: KafkaError) -> None:
        lost: Collection[Any] = error.args[0] if error.args else ()
        for tp in lost:
            owned = self._owned.get(tp.partition)
            if owned is not None and owned.feed.is_open:
                owned.feed.fail(
                    PositionLost(f"{tp.topic}[{tp.partition}]: retention passed our position")
                )

    # -- assignment ----------------------------------------------------------------------------

    async def _assigned(self, assigned: Collection[Any]) -> None:
        # First of all: records of a new partition may arrive before its owner has restored.
        self._consumer.pause(*assigned)
        assert self._workers is not None
        if self._leaving:
            return
        self._readiness.clear(self._name.label)
        for tp in assigned:
            owned = _Owned(tp)
            self._owned[tp.partition] = owned
            owned.task = self._workers.create_task(self._own(owned))

    async def _revoked(self, revoked: Collection[Any]) -> None:
        """Eager rebalancing: whatever the group revokes, it revokes all. Transactions under way
        are finished if they can be in time, and abandoned otherwise."""
        leaving = list(self._owned.values())
        self._owned.clear()
        for owned in leaving:
            owned.feed.end()
        tasks = [owned.task for owned in leaving if owned.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=DRAIN_S)
        await self._commit_offsets(leaving)

    # -- one partition -------------------------------------------------------------------------

    async def _own(self, owned: _Owned) -> None:
        """Keeps a partition going until it is revoked. Any error means: fence and restore."""
        where = f"{self._name.label} partition {owned.tp.partition}"
        pause = FIRST_PAUSE_S
        while not owned.feed.ended:
            begun = asyncio.get_running_loop().time()
            try:
                await self._take(owned, where)
            except Unavailable as error:
                self._readiness.block(where, str(error))
                self._counts.restarted()
                if asyncio.get_running_loop().time() - begun > LONGEST_PAUSE_S:
                    pause = FIRST_PAUSE_S
                await owned.feed.wait_end(pause)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                await self._until_still_member(owned)
            except StageStopped as error:
                owned.stopped = str(error)
                self._readiness.block(where, f"stopped: {error}")
                log.error("%s stopped: %s", where, error)
                await owned.feed.wait_end()
        self._readiness.clear(where)

    async def _take(self, owned: _Owned, where: str) -> None:
        """Fence, restore, consume. Returns when the partition is revoked."""
        partition = owned.tp.partition
        begun = time.perf_counter()
        writer = await TransactionalWriter.fence(
            self._kafka, f"{self._name.transactional_prefix}.{partition}", partition
        )
        try:
            state = self._make_partition(partition, owned.feed.fail)
            position = await self._restore(state, owned)
            owned.checkpoint = Checkpoint(position, state.note)
            owned.feed.open()
            with kafka_errors(f"seeking in {self._name.input_topic}"):
                self._consumer.seek(owned.tp, position)
                self._consumer.resume(owned.tp)
            owned.paused = False
            self._readiness.clear(where)
            self._counts.taken(time.perf_counter() - begun)
            await self._consume(owned, writer, state)
        finally:
            owned.feed.close()
            owned.in_work = ()
            with suppress(KafkaError):
                self._consumer.pause(owned.tp)
            closing = asyncio.create_task(writer.discard())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _consume(
        self, owned: _Owned, writer: TransactionalWriter, state: StagePartition
    ) -> None:
        owned.rests_until = 0.0
        while True:
            if (pause := owned.rests_until - time.perf_counter()) > 0:
                await owned.feed.wait_end(pause)
            records = await owned.feed.take(BATCH_RECORDS, BATCH_BYTES)
            if records is None:
                return
            if owned.paused and owned.feed.has_room:
                owned.paused = False
                with kafka_errors(f"resuming {self._name.input_topic}"):
                    self._consumer.resume(owned.tp)
            owned.in_work = records
            begun_ns = time.time_ns()
            decided = await self._process(state, records)
            owned.feed.put_back(records[decided.taken :])
            owned.in_work = records[: decided.taken]
            offsets = await self._write(owned, writer, decided, begun_ns)
            await state.committed(offsets)
            owned.in_work = ()
            self._counts.done(decided.taken)
            owned.checkpoint = Checkpoint(records[decided.taken - 1].offset + 1, state.note)

    async def _write(
        self, owned: _Owned, writer: TransactionalWriter, decided: Decided, begun_ns: int
    ) -> list[int]:
        outputs = decided.outputs
        if not outputs:
            return []
        begun = time.perf_counter()
        with self._traces.transaction(owned.tp.partition, outputs, begun_ns) as traced:
            offsets = await writer.write(traced.outputs)
            traced.committed(offsets)
        ended = time.perf_counter()
        self._counts.committed(len(outputs), ended - begun)
        owned.rests_until = ended + self._rest.after(decided.taken, ended - begun)
        return offsets

    async def _process(self, state: StagePartition, records: Sequence[Record]) -> Decided:
        """An error that nobody foresaw stops this partition and no other."""
        try:
            return await state.process(records)
        except (Unavailable, StageStopped):
            raise
        except Exception as error:
            place = f"{self._name.input_topic} offsets {records[0].offset} to {records[-1].offset}"
            log.exception("%s: %s", self._name.label, place)
            raise StageStopped(f"{place} can't be processed: {error!r}") from error

    async def _restore(self, state: StagePartition, owned: _Owned) -> int:
        checkpoint = await self._read_checkpoint(owned.tp)
        async with LogReader.open(self._kafka) as reader:
            output = OutputLog(reader, self._offsets, owned.tp.partition, checkpoint)
            position = await state.restore(output)
        return await self._check_retained(owned.tp, position, checkpoint)

    async def _check_retained(
        self, tp: TopicPartition, position: int, checkpoint: Checkpoint | None
    ) -> int:
        """The position, if everything from it on is still there to be read."""
        begin = (await beginnings(self._offsets, tp.topic, [tp.partition]))[tp.partition]
        end = (await high_watermarks(self._offsets, tp.topic, [tp.partition]))[tp.partition]
        place = f"{tp.topic}[{tp.partition}]"
        if position > end:
            raise StreamViolation(
                f"{place} ends at {end}, but its output has come from up to {position}: "
                "it has lost records or was made anew"
            )
        if position >= begin:
            return position
        if checkpoint is not None and checkpoint.next_offset >= begin:
            # What retention deleted had been processed and left no output (duplicates).
            return begin
        raise PositionLost(
            f"{place}: the next record to process is {position}, but retention has deleted all "
            f"before {begin}: {begin - position} records were never processed"
        )

    # -- checkpoints (advisory group offsets) ----------------------------------------------------

    async def _read_checkpoint(self, tp: TopicPartition) -> Checkpoint | None:
        # The public committed() drops the metadata.
        with kafka_errors(f"reading the offsets of {self._name.group}"):
            found = await within(
                self._consumer._coordinator.fetch_committed_offsets([tp]), REQUEST_TIMEOUT_S
            )
        committed = found.get(tp)
        if committed is None or committed.offset < 0:
            return None
        return Checkpoint(committed.offset, committed.metadata)

    async def _write_checkpoints(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_EVERY_S)
            await self._checkpoint_all()

    async def _checkpoint_all(self) -> None:
        await self._commit_offsets(self._owned.values())

    async def _commit_offsets(self, partitions: Collection[_Owned]) -> None:
        """Advisory: an error here costs nothing but a longer look at the output next time."""
        offsets = {
            owned.tp: OffsetAndMetadata(owned.checkpoint.next_offset, owned.checkpoint.note)
            for owned in partitions
            if owned.checkpoint is not None
        }
        if not offsets:
            return
        try:
            await within(self._consumer.commit(offsets), 3.0)
        except (KafkaError, TimeoutError) as error:
            log.debug("%s: checkpoint not written: %r", self._name.group, error)

    async def _until_still_member(self, owned: _Owned) -> None:
        """Before fencing again: asks the group whether the partition is still ours. One that was
        paused past its session would otherwise fence its successor, for nothing."""
        while not owned.feed.ended and owned.checkpoint is not None:
            offset = OffsetAndMetadata(owned.checkpoint.next_offset, owned.checkpoint.note)
            try:
                await within(self._consumer.commit({owned.tp: offset}), 3.0)
            except (KafkaError, TimeoutError) as error:
                log.debug("%s: not known to be a member: %r", self._name.group, error)
                await owned.feed.wait_end(0.2)
            else:
                return


OnPartitions = Callable[[Collection[Any]], Awaitable[None]]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """aiokafka logs what a listener raises and goes on; this keeps it for the fetch loop."""

    def __init__(self, assigned: OnPartitions, revoked: OnPartitions) -> None:
        self._on_assigned = assigned
        self._on_revoked = revoked
        self._failure: Exception | None = None

    def check(self) -> None:
        """Raises what a call-back has raised."""
        if self._failure is not None:
            raise self._failure

    async def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        await self._keep_failure(self._on_revoked(revoked))

    async def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        await self._keep_failure(self._on_assigned(assigned))

    async def _keep_failure(self, call: Awaitable[None]) -> None:
        try:
            await call
        except Exception as error:
            self._failure = error
            raise
