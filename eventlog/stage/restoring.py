"""Restores partitions of a fenced lane from their outputs, each by a task of its own until it
works."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from eventlog.checkpoints import Checkpoint
from eventlog.log_reader import LogReader
from eventlog.stage.lane_partition import LONGEST_PAUSE_S, LanePartition
from eventlog.stage.setup import StageClients, StageSetup
from eventlog.stage.stage_partition import Fail, OutputLog
from runtime.errors import (
    KafkaRefused,
    PositionLost,
    StageStopped,
    StreamViolation,
    Unavailable,
)

OnRestored = Callable[[LanePartition, int], None]
"""Called with the offset of the input at which the partition goes on."""
OnStopped = Callable[[LanePartition, Exception], None]


class Restoring:
    """Restores partitions side by side. ``until_written``: returns when no transaction is under way
    that may hold some of a partition that was given up. ``changed`` is set when one has ended."""

    def __init__(
        self,
        setup: StageSetup,
        clients: StageClients,
        until_written: Callable[[], Awaitable[None]],
        on_restored: OnRestored,
        on_stopped: OnStopped,
        changed: asyncio.Event,
    ) -> None:
        self._setup = setup
        self._clients = clients
        self._until_written = until_written
        self._on_restored = on_restored
        self._on_stopped = on_stopped
        self._changed = changed
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False

    def begin(self, partition: LanePartition) -> None:
        """Begins to restore a partition of a lane that was fenced just now."""
        self._run(partition, 0.0)

    def begin_again(self, partition: LanePartition, error: Unavailable) -> None:
        """Begins to restore a partition that an error has made useless, after a pause. The fence
        still holds, so nobody else has written to its output."""
        if time.monotonic() - partition.restored_at > LONGEST_PAUSE_S:
            partition.backoff.reset()
        self._note(partition, error)
        self._run(partition, partition.backoff.next())

    def check(self) -> None:
        """Raises what went wrong with a task as nobody foresaw."""
        for task in [task for task in self._tasks if task.done()]:
            self._tasks.discard(task)
            task.result()

    def end(self) -> None:
        """Restores no more: whoever waits for its turn gives up."""
        self._ended = True
        self._clients.taking.call()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, partition: LanePartition, pause_s: float) -> None:
        task = asyncio.create_task(self._restore(partition, pause_s))
        task.add_done_callback(lambda _: self._changed.set())
        self._tasks.add(task)

    def _note(self, partition: LanePartition, error: Unavailable) -> None:
        self._setup.readiness.block(partition.where, str(error))
        self._setup.counts.restarted()

    async def _restore(self, partition: LanePartition, pause_s: float) -> None:
        """Tries until the partition is restored, or stops."""
        while not self._ended:
            await asyncio.sleep(pause_s)
            try:
                await self._in_turn(partition)
            except Unavailable as error:
                self._note(partition, error)
            except (StageStopped, KafkaRefused) as error:
                self._on_stopped(partition, error)
                return
            else:
                return
            pause_s = partition.backoff.next()

    async def _in_turn(self, partition: LanePartition) -> None:
        async with self._clients.taking.turn(lambda: self._ended) as has_come:
            if has_come:
                await self._until_written()
                await self._restore_now(partition)

    async def _restore_now(self, partition: LanePartition) -> None:
        started_at = time.perf_counter()
        partition.end()
        decider = self._setup.make_partition(partition.tp.partition, self._fail_of(partition))
        checkpoint = await self._clients.checkpoints.read(partition.tp)
        async with LogReader.open(self._clients.kafka) as reader:
            number, offsets = partition.tp.partition, self._clients.offsets
            position = await decider.restore(OutputLog(reader, offsets, number, checkpoint))
        position = await self._retained(partition, position, checkpoint)
        if partition.failure is not None:
            # What was restored has failed meanwhile.
            raise partition.failure
        partition.begin(decider, position)
        partition.restored_at = time.monotonic()
        self._setup.readiness.clear(partition.where)
        self._setup.counts.taken(time.perf_counter() - started_at)
        self._on_restored(partition, position)

    def _fail_of(self, partition: LanePartition) -> Fail:
        """Makes what fails this attempt, and says nothing to the next one."""
        attempt = partition.attempt

        def fail(error: Exception) -> None:
            if partition.attempt == attempt and partition.failure is None:
                partition.failure = error
                self._changed.set()

        return fail

    async def _retained(
        self, partition: LanePartition, position: int, checkpoint: Checkpoint | None
    ) -> int:
        """Returns the position, if everything from it on is still there to be read."""
        topic, number, place = partition.tp.topic, partition.tp.partition, partition.place
        begin = (await self._clients.offsets.beginnings(topic, [number]))[number]
        end = (await self._clients.offsets.high_watermarks(topic, [number]))[number]
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
            f"{place}: the next record to process is {position}, but retention has deleted "
            f"all before {begin}: {begin - position} records were never processed"
        )
