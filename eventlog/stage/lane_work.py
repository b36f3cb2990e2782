"""One loop works on a lane from its fence on: it takes what has come, decides, writes, and goes on.

What is fetched for all partitions is decided on in the order of the partitions, and all that
follows is written in one transaction. The next batch is decided on while the one before is being
committed. A partition that can't go on leaves the loop, and comes back once it is restored.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence

from eventlog.clients.fetcher import Fetcher, Taken
from eventlog.kafka_errors import errors, ours
from eventlog.stage.budget import Share
from eventlog.stage.lane_partition import Decided, LanePartition
from eventlog.stage.lane_writing import LaneWriting
from eventlog.stage.pending import Pending
from eventlog.stage.restoring import Restoring
from eventlog.stage.setup import StageClients, StageSetup
from eventlog.stage.stage_partition import Batch, BoundedPartition, StagePartition
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import KafkaRefused, PositionLost, StageStopped, Unavailable

log = logging.getLogger(__name__)


class LaneWork:
    """Works on a lane until it is told to end, or something fails for all partitions. ``changed``
    is set whenever there may be something to do."""

    def __init__(
        self,
        partitions: Sequence[LanePartition],
        setup: StageSetup,
        clients: StageClients,
        writer: TransactionalWriter,
        fetcher: Fetcher,
        memory: Share,
        changed: asyncio.Event,
    ) -> None:
        self._partitions = {partition.tp: partition for partition in partitions}
        self._setup = setup
        self._fetcher = fetcher
        self._changed = changed
        self._pending = Pending(memory)
        self._writing = LaneWriting(setup, writer, self._pending, changed)
        self._restoring = Restoring(
            setup, clients, self._writing.wait, self._follow, self._stop, changed
        )
        self._ended = False

    def end(self) -> None:
        """Lets ``run`` finish what is decided and return."""
        self._ended = True
        self._restoring.end()
        self._changed.set()

    def look(self) -> None:
        """Notes how long the input is by now, for whoever asks how the partitions stand. For one
        that has left, what was known then stays."""
        for tp in self._fetcher.followed():
            self._partitions[tp].high_watermark = self._fetcher.high_watermark(tp)

    async def run(self) -> None:
        """Restores every partition that has not stopped, and works on those that are restored.

        Raises:
            Unavailable: the lane is to be fenced anew.
            KafkaRefused: what was to be written is refused for good.
        """
        try:
            for partition in self._partitions.values():
                if partition.stopped is None:
                    self._restoring.begin(partition)
            while not self._ended:
                self._changed.clear()
                await self._turn()
                await self._changed.wait()
            await self._writing.finish()
        finally:
            await self._restoring.stop()
            await self._writing.stop()
            for partition in self._partitions.values():
                partition.end()

    async def _turn(self) -> None:
        self._restoring.check()
        self._writing.check()
        for partition in self._partitions.values():
            if partition.failure is not None and partition.decider is not None:
                self._give_up(partition, partition.failure)
        if room := self._pending.room():
            for taken in sorted(self._fetcher.take(room), key=lambda taken: taken.tp):
                await self._decide_on(taken)
        for partition in self._partitions.values():
            if partition.is_at_end:
                await self._finish(partition)
        self._writing.begin()
        if self._pending.room():
            self._fetcher.request()

    # -- deciding ----------------------------------------------------------------------------------

    async def _decide_on(self, taken: Taken) -> None:
        partition = self._partitions[taken.tp]
        decider = partition.decider
        if decider is None:
            return
        try:
            partition.take(taken.records, taken.next_offset)
            while partition.in_process:
                await self._decide(partition, decider)
            if isinstance(taken.error, errors.OffsetOutOfRangeError):
                place = partition.place
                raise PositionLost(f"{place}: retention has deleted the next record to read")
            if taken.error is not None:
                raise ours(taken.error, f"reading {partition.place}")
        except (Unavailable, StageStopped, KafkaRefused) as error:
            self._give_up(partition, error)

    async def _decide(self, partition: LanePartition, decider: StagePartition) -> None:
        """Lets the partition decide on its records, or on the first of them."""
        records, started_at_ns = partition.in_process, time.time_ns()
        held = self._pending.hold(records)
        try:
            place = f"{partition.tp.topic} offsets {records[0].offset} to {records[-1].offset}"
            batch = await self._process(decider.process(records), place)
        except BaseException:
            self._pending.release(held)
            raise
        taken, left = records[: batch.taken], records[batch.taken :]
        if left:
            self._pending.release(held)
            held = self._pending.hold(taken)
        decided = Decided(
            partition,
            batch,
            len(taken),
            taken[0].timestamp_ms,
            taken[-1].offset + 1 if left else partition.taken_to,
            decider.note,
            held,
            started_at_ns,
        )
        partition.decided(decided, left)
        self._pending.add(decided)

    async def _finish(self, partition: LanePartition) -> None:
        """Lets a partition decide what follows from the end of its stretch, and reads it no
        more."""
        decider, now_ns = partition.decider, time.time_ns()
        assert isinstance(decider, BoundedPartition)
        partition.finished = True
        self.look()
        self._fetcher.leave(partition.tp)
        try:
            place = f"{partition.place} offset {partition.taken_to}, its end"
            batch = await self._process(decider.finish(), place)
        except (Unavailable, StageStopped, KafkaRefused) as error:
            self._give_up(partition, error)
            return
        decided = Decided(
            *(partition, batch, 0, now_ns // 1_000_000),
            *(partition.taken_to, decider.note, 0, now_ns),
        )
        partition.decided(decided, ())
        self._pending.add(decided)

    async def _process(self, decision: Awaitable[Batch], place: str) -> Batch:
        """Lets a partition decide. An error that nobody foresaw stops it and no other."""
        try:
            return await decision
        except (Unavailable, StageStopped, KafkaRefused):
            raise
        except Exception as error:
            log.exception("%s: %s", self._setup.name.label, place)
            raise StageStopped(f"{place} can't be processed: {error!r}") from error

    # -- leaving and coming back -------------------------------------------------------------------

    def _follow(self, partition: LanePartition, position: int) -> None:
        self._fetcher.follow(partition.tp, position)

    def _give_up(self, partition: LanePartition, error: Exception) -> None:
        """Takes a partition out of the loop, to restore it or for good, by the error's type. The
        others go on."""
        if not isinstance(error, Unavailable):
            self._stop(partition, error)
            return
        self._leave(partition)
        self._pending.drop(partition)
        self._restoring.begin_again(partition, error)

    def _leave(self, partition: LanePartition) -> None:
        self.look()
        self._fetcher.leave(partition.tp)
        partition.end()

    def _stop(self, partition: LanePartition, error: Exception) -> None:
        """Stops a partition until it is assigned anew. What it has decided before is written."""
        self._leave(partition)
        stop(partition, error, self._setup)


def stop(partition: LanePartition, error: Exception, setup: StageSetup) -> None:
    """Notes that a partition works no more, and why."""
    partition.stopped = str(error)
    setup.readiness.block(partition.where, f"stopped: {error}")
    log.error("%s stopped: %s", partition.where, error)
