"""Writes one partition, as its only writer, from its assignment to its revocation.

Fence, restore, consume. On taking the partition its transactional id is taken over, then its state
and position are restored from its output, then it consumes. What may pass by itself makes it begin
again; what breaks a promise, or is refused for good, stops it.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from eventlog.checkpoints import Checkpoint
from eventlog.kafka_errors import KafkaError, kafka_errors
from eventlog.log_reader import LogReader
from eventlog.records import FetchedRecord, Record, TopicPartition, to_record
from eventlog.stage.feed import IN_WORK_TIMES, Feed
from eventlog.stage.metrics import PartitionLag
from eventlog.stage.setup import StageClients, StageSetup
from eventlog.stage.stage_partition import Batch, Fail, OutputLog, StagePartition
from eventlog.transactional_writer import TransactionalWriter
from runtime.backoff import Backoff
from runtime.errors import (
    KafkaRefused,
    PositionLost,
    StageStopped,
    StreamViolation,
    Unavailable,
)

log = logging.getLogger(__name__)

BATCH_RECORDS = 1_000
BATCH_BYTES = 2 * 1024 * 1024
LEAST_BATCH_BYTES = 128 * 1024
"""However many others are at work, this much is put into one transaction."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
MEMBERSHIP_POLL_S = 0.2
MARKERS_S = 0.002
"""A transaction's markers are written after its commit is answered: to begin the next one on that
partition sooner only costs a refusal and a second try."""


class PartitionOwner:
    """Owns one partition. ``checkpoint``: how far it has come; None until it has restored."""

    def __init__(self, tp: TopicPartition, setup: StageSetup, clients: StageClients) -> None:
        self.tp = tp
        self.checkpoint: Checkpoint | None = None
        self._setup = setup
        self._clients = clients
        self._feed = Feed(clients.memory)
        self._fetching = False
        self._held = False
        self._stopped: str | None = None
        self._in_work: Sequence[Record] = ()
        self._rests_until = 0.0
        self._writer: TransactionalWriter | None = None

    async def run(self) -> None:
        """Keeps the partition going until it is revoked. After an error it fences and restores, or
        stops."""
        where = f"{self._setup.name.label} partition {self.tp.partition}"
        readiness = self._setup.readiness
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while not self._feed.ended:
            started_at = time.monotonic()
            try:
                await self._take(where)
            except Unavailable as error:
                readiness.block(where, str(error))
                self._setup.counts.restarted()
                if time.monotonic() - started_at > LONGEST_PAUSE_S:
                    backoff.reset()
                await self._feed.wait_end(backoff.next())
                await self._until_still_member()
            except (StageStopped, KafkaRefused) as error:
                self._stopped = str(error)
                readiness.block(where, f"stopped: {error}")
                log.error("%s stopped: %s", where, error)
                await self._feed.wait_end()
        readiness.clear(where)

    def pass_markers(self) -> None:
        """Moves the checkpoint beyond what stands behind the last record: markers take offsets,
        and a tool that compares offsets would see a lag that never ends."""
        state = self._clients.consumer.progress(self.tp)
        if state is None or self.checkpoint is None or not self._feed.is_open:
            return
        if len(self._feed) or self._in_work:
            return
        if state.position > self.checkpoint.next_offset:
            self.checkpoint = Checkpoint(state.position, self.checkpoint.note)

    def revoke(self) -> None:
        """Gives it up: ``run`` finishes the transaction that is under way and returns."""
        self._feed.end()
        self._clients.taking.look_again()

    def accept(self, messages: Sequence[FetchedRecord]) -> None:
        """Takes what the fetch loop has for this partition. Before it has restored that is dropped:
        it will seek to where it wants to begin."""
        if not self._feed.is_open:
            return
        self._feed.offer([to_record(m) for m in messages])
        self._regulate()

    def hold(self, held: bool) -> None:
        """Notes whether its stage has no room for more, whatever this partition has."""
        self._held = held
        self._regulate()

    def _regulate(self) -> None:
        """Lets fetches go on while there is room."""
        feed, consumer = self._feed, self._clients.consumer
        if not feed.is_open:
            return
        room = feed.has_room or (self._fetching and not feed.is_full)
        wanted = room and not self._held
        if wanted == self._fetching:
            return
        self._fetching = wanted
        # A partition that is being revoked can't be paused or resumed any more, and need not.
        with suppress(KafkaError):
            if wanted:
                consumer.resume(self.tp)
            else:
                consumer.pause(self.tp)

    def lose_position(self) -> None:
        """Fails: the broker has nothing at the offset that was to be fetched."""
        if self._feed.is_open:
            self._feed.fail(
                PositionLost(f"{self._place}: retention has deleted the next record to read")
            )

    # -- how it stands ---------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        return {
            "nextOffset": self.checkpoint.next_offset if self.checkpoint else None,
            "highWatermark": self._clients.consumer.highwater(self.tp),
            "lag": self._lag_records(),
            "stopped": self._stopped,
        }

    def lag(self, now_ms: float) -> PartitionLag:
        records = self._lag_records()
        oldest = self._in_work[0].timestamp_ms if self._in_work else self._feed.oldest_ms
        seconds = max(0.0, (now_ms - oldest) / 1000) if oldest is not None else None
        if records == 0:
            seconds = 0.0
        return PartitionLag(self.tp.partition, records, seconds, self._stopped is not None)

    def _lag_records(self) -> int | None:
        """Counts records fetched and not done with, and offsets not fetched yet. While the
        partition does not work, it is the offsets beyond the last one done with, markers
        included."""
        state = self._clients.consumer.progress(self.tp)
        if state is None or state.highwater is None:
            return None
        if not self._feed.is_open:
            if self.checkpoint is None:
                return None
            return max(0, state.highwater - self.checkpoint.next_offset)
        unfetched = max(0, state.highwater - state.position)
        return unfetched + len(self._feed) + len(self._in_work)

    @property
    def _place(self) -> str:
        return f"{self.tp.topic}[{self.tp.partition}]"

    # -- fence, restore, consume -----------------------------------------------------------------

    async def _take(self, where: str) -> None:
        """Returns when the partition is revoked."""
        async with AsyncExitStack() as taking:
            # False if the partition is revoked before it is its turn.
            if await self._clients.taking.wait_unless(lambda: self._feed.ended):
                self._clients.taking.take(1)
                taking.callback(self._clients.taking.give_back, 1)
                await self._take_in_turn(where, taking)

    async def _take_in_turn(self, where: str, taking: AsyncExitStack) -> None:
        """Fences, restores and consumes. ``taking`` is closed once the partition is restored."""
        setup, consumer = self._setup, self._clients.consumer
        partition = self.tp.partition
        started_at = time.perf_counter()
        writer = await TransactionalWriter.fence(
            self._clients.kafka,
            f"{setup.name.transactional_prefix}.{partition}",
            partition,
            self.tp.topic,
        )
        try:
            decider = setup.make_partition(partition, self._fail_of(writer))
            position = await self._restore(decider)
            self.checkpoint = Checkpoint(position, decider.note)
            self._feed.open()
            with kafka_errors(f"seeking in {self.tp.topic}"):
                consumer.seek(self.tp, position)
            self._fetching = False
            self._regulate()
            setup.readiness.clear(where)
            setup.counts.taken(time.perf_counter() - started_at)
            await taking.aclose()
            await self._consume(writer, decider)
        finally:
            self._writer = None
            self._feed.close()
            self._in_work = ()
            with suppress(KafkaError):
                consumer.pause(self.tp)
            closing = asyncio.create_task(writer.discard())
            self._clients.closing.add(closing)
            closing.add_done_callback(self._clients.closing.discard)

    def _fail_of(self, writer: TransactionalWriter) -> Fail:
        """Makes what fails this attempt, and says nothing to the next one."""
        self._feed.begin()
        self._writer = writer

        def fail(error: Exception) -> None:
            if self._writer is writer:
                self._feed.fail(error)

        return fail

    async def _restore(self, decider: StagePartition) -> int:
        checkpoint = await self._clients.checkpoints.read(self.tp)
        async with LogReader.open(self._clients.kafka) as reader:
            output = OutputLog(reader, self._clients.offsets, self.tp.partition, checkpoint)
            position = await decider.restore(output)
        return await self._check_retained(position, checkpoint)

    async def _check_retained(self, position: int, checkpoint: Checkpoint | None) -> int:
        """Returns the position, if everything from it on is still there to be read."""
        topic, partition, offsets = self.tp.topic, self.tp.partition, self._clients.offsets
        begin = (await offsets.beginnings(topic, [partition]))[partition]
        end = (await offsets.high_watermarks(topic, [partition]))[partition]
        if position > end:
            raise StreamViolation(
                f"{self._place} ends at {end}, but its output has come from up to {position}: "
                "it has lost records or was made anew"
            )
        if position >= begin:
            return position
        if checkpoint is not None and checkpoint.next_offset >= begin:
            # What retention deleted had been processed and left no output (duplicates).
            return begin
        raise PositionLost(
            f"{self._place}: the next record to process is {position}, but retention has deleted "
            f"all before {begin}: {begin - position} records were never processed"
        )

    async def _consume(self, writer: TransactionalWriter, decider: StagePartition) -> None:
        self._rests_until = 0.0
        while True:
            if (pause := self._rests_until - time.perf_counter()) > 0:
                await self._feed.wait_end(pause)
            waiting = await self._feed.wait()
            if not waiting:
                self.pass_markers()
                return
            async with self._clients.group_commit.turn(waiting):
                most = max(LEAST_BATCH_BYTES, self._clients.memory.portion // IN_WORK_TIMES)
                records = await self._feed.take(BATCH_RECORDS, min(BATCH_BYTES, most))
                if records is None:
                    return
                self._regulate()
                await self._transact(writer, decider, records)

    async def _transact(
        self, writer: TransactionalWriter, decider: StagePartition, records: Sequence[Record]
    ) -> None:
        self._in_work = records
        started_at_ns = time.time_ns()
        batch = await self._process(decider, records)
        self._feed.put_back(records[batch.taken :])
        self._in_work = records[: batch.taken]
        offsets = await self._write(writer, batch, started_at_ns)
        await batch.committed(offsets)
        self._in_work = ()
        self._feed.done()
        self._setup.counts.done(batch.taken)
        self.checkpoint = Checkpoint(records[batch.taken - 1].offset + 1, decider.note)

    async def _process(self, decider: StagePartition, records: Sequence[Record]) -> Batch:
        """Lets the partition decide. An error that nobody foresaw stops it and no other."""
        try:
            return await decider.process(records)
        except (Unavailable, StageStopped, KafkaRefused):
            raise
        except Exception as error:
            place = f"{self.tp.topic} offsets {records[0].offset} to {records[-1].offset}"
            log.exception("%s: %s", self._setup.name.label, place)
            raise StageStopped(f"{place} can't be processed: {error!r}") from error

    async def _write(
        self, writer: TransactionalWriter, batch: Batch, started_at_ns: int
    ) -> list[int]:
        outputs = batch.outputs
        if not outputs:
            return []
        started_at = time.perf_counter()
        with self._setup.traces.transaction(self.tp.partition, outputs, started_at_ns) as traced:
            offsets = await writer.write(traced.outputs)
            traced.committed(offsets)
        ended = time.perf_counter()
        self._setup.counts.committed(len(outputs), ended - started_at)
        self._rests_until = ended + MARKERS_S
        return offsets

    async def _until_still_member(self) -> None:
        """Asks the group, before fencing again, whether the partition is still ours. One that was
        paused past its session would otherwise fence its successor, for nothing."""
        while not self._feed.ended and self.checkpoint is not None:
            if await self._clients.checkpoints.write({self.tp: self.checkpoint}):
                return
            await self._feed.wait_end(MEMBERSHIP_POLL_S)
