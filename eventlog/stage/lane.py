"""A lane is a set of partitions that are owned, fenced and committed together, from its assignment
to its revocation.

Fence, restore, consume. On taking the lane its transactional id is taken over, then every partition
is restored from its output, then one loop works on all of them (``lane_work``). What may pass by
itself makes the lane begin again; what is refused for good stops it.
"""

import asyncio
import time
from collections.abc import Mapping

from eventlog.checkpoints import Checkpoint
from eventlog.kafka import FETCH_BYTES
from eventlog.records import TopicPartition
from eventlog.stage.lane_partition import FIRST_PAUSE_S, LONGEST_PAUSE_S, LanePartition
from eventlog.stage.lane_work import LaneWork, stop
from eventlog.stage.metrics import PartitionLag
from eventlog.stage.setup import StageClients, StageSetup
from eventlog.transactional_writer import TransactionalWriter
from runtime.backoff import Backoff
from runtime.errors import KafkaRefused, OutputRefused, StageStopped, Unavailable

MEMBERSHIP_POLL_S = 0.2
FETCH_WAIT_MS = 500


class Lane:
    """Owns one lane of a stage."""

    def __init__(self, number: int, setup: StageSetup, clients: StageClients) -> None:
        self.number = number
        self._setup = setup
        self._clients = clients
        self._where = f"{setup.name.label} lane {number}"
        self._partitions = [
            LanePartition(TopicPartition(setup.name.input_topic, partition), setup.name.label)
            for partition in setup.lanes.partitions_of(number)
        ]
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._work: LaneWork | None = None

    async def run(self) -> None:
        """Keeps the lane going until it is revoked."""
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        readiness = self._setup.readiness
        while not self._ended.is_set():
            started_at = time.monotonic()
            try:
                await self._take()
            except Unavailable as error:
                readiness.block(self._where, str(error))
                self._setup.counts.restarted()
                if time.monotonic() - started_at > LONGEST_PAUSE_S:
                    backoff.reset()
                await self._until_ended(backoff.next())
                await self._until_still_member()
            except OutputRefused as refused:
                for partition in self._partitions:
                    if (why := refused.why.get(partition.tp.partition)) is not None:
                        stop(partition, KafkaRefused(why), self._setup)
            except (StageStopped, KafkaRefused) as error:
                for partition in self._partitions:
                    stop(partition, error, self._setup)
                await self._ended.wait()
        readiness.clear(self._where)
        for partition in self._partitions:
            readiness.clear(partition.where)

    def revoke(self) -> None:
        """Gives the lane up: ``run`` finishes what is decided and returns."""
        self._ended.set()
        self._clients.taking.call()
        if self._work is not None:
            self._work.end()

    def status(self) -> dict[int, dict[str, object]]:
        self._look()
        return {partition.tp.partition: partition.status() for partition in self._partitions}

    def lag(self, now_ms: float) -> list[PartitionLag]:
        self._look()
        return [partition.lag(now_ms) for partition in self._partitions]

    def _look(self) -> None:
        if self._work is not None:
            self._work.look()

    def checkpoints(self) -> Mapping[TopicPartition, Checkpoint]:
        """Returns the checkpoints of the partitions that have one."""
        found = {partition.tp: partition.progress for partition in self._partitions}
        return {tp: checkpoint for tp, checkpoint in found.items() if checkpoint is not None}

    async def _take(self) -> None:
        """Fences, and works until the lane is revoked."""
        async with self._clients.taking.turn(self._ended.is_set) as has_come:
            if not has_come:
                return
            writer = await self._fence()
        try:
            await self._setup.confirm(self._clients.offsets)
            await self._work_with(writer)
        finally:
            closing = asyncio.create_task(writer.discard())
            self._clients.closing.add(closing)
            closing.add_done_callback(self._clients.closing.discard)

    async def _fence(self) -> TransactionalWriter:
        name = self._setup.name
        return await TransactionalWriter.fence(
            self._clients.kafka, name.lane(self.number), name.input_topic
        )

    async def _work_with(self, writer: TransactionalWriter) -> None:
        setup, clients = self._setup, self._clients
        fetch_bytes = FETCH_BYTES // setup.lanes.count
        memory = setup.limits.memory.share(self._changed)
        fetcher = clients.kafka.fetcher(
            [setup.name.input_topic], fetch_bytes, FETCH_WAIT_MS, self._changed
        )
        try:
            async with fetcher:
                self._work = LaneWork(
                    *(self._partitions, setup, clients, writer, fetcher, memory, self._changed)
                )
                setup.readiness.clear(self._where)
                if self._ended.is_set():
                    return
                await self._work.run()
        finally:
            self._work = None
            memory.close()

    async def _until_ended(self, timeout_s: float) -> None:
        """Returns when the lane is revoked or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            return

    async def _until_still_member(self) -> None:
        """Asks the group, before fencing again, whether the lane is still ours. One that was
        paused past its session would otherwise fence its successor, for nothing."""
        while not self._ended.is_set() and (made := self.checkpoints()):
            if await self._clients.checkpoints.write(made):
                return
            await self._until_ended(MEMBERSHIP_POLL_S)
