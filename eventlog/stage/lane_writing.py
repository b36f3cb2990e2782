"""Writes what a lane has decided, one transaction at a time, and tells the partitions when it
stands."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

from eventlog.records import Output
from eventlog.stage.lane_partition import Decided
from eventlog.stage.pending import Pending
from eventlog.stage.setup import Rest, StageSetup
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import KafkaRefused, StageStopped, Unavailable

MARKERS_S = 0.002
"""A transaction's markers are written after its commit is answered: to begin the next one sooner
only costs a refusal and a second try."""
LONGEST_REST_S = 0.05
PLENTY = 100
"""Records that are worth a transaction, however busy the machine is: nobody rests for more."""


class LaneWriting:
    """Holds the transaction that is under way. ``changed`` is set when it has ended, and when a
    rest is over that something waits for."""

    def __init__(
        self,
        setup: StageSetup,
        writer: TransactionalWriter,
        pending: Pending,
        changed: asyncio.Event,
    ) -> None:
        self._setup = setup
        self._writer = writer
        self._pending = pending
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._rests_until = 0.0

    def begin(self) -> None:
        """Begins a transaction with all that is pending, unless one is under way or it rests."""
        if self._task is not None or not self._pending:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            loop.call_at(self._rests_until, self._changed.set)
            return
        self._task = asyncio.create_task(self._write(self._pending.take_all()))
        self._task.add_done_callback(lambda _: self._changed.set())

    def check(self) -> None:
        """Notices that a transaction has ended, and raises what went wrong with it.

        Raises:
            OutputUncertain, KafkaRefused: see ``TransactionalWriter.write``.
        """
        if self._task is not None and self._task.done():
            ended, self._task = self._task, None
            ended.result()

    async def wait(self) -> None:
        """Returns when no transaction is under way that was when it was called."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def finish(self) -> None:
        """Returns when all that is pending stands.

        Raises:
            OutputUncertain, KafkaRefused: as ``check``.
        """
        while self._task is not None or self._pending:
            self._rests_until = 0.0
            self.begin()
            await self.wait()
            self.check()

    async def stop(self) -> None:
        """Abandons the transaction that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _write(self, decided: Sequence[Decided]) -> None:
        try:
            with ExitStack() as spans:
                traced = [
                    spans.enter_context(
                        self._setup.traces.transaction(
                            one.partition.tp.partition, one.batch.outputs, one.started_at_ns
                        )
                    )
                    for one in decided
                ]
                offsets = await self._commit(decided, [one.outputs for one in traced])
                for transaction, of_batch in zip(traced, offsets, strict=True):
                    transaction.committed(of_batch)
            for one, of_batch in zip(decided, offsets, strict=True):
                await self._tell(one, of_batch)
        finally:
            self._pending.release(sum(one.bytes for one in decided))

    async def _commit(
        self, decided: Sequence[Decided], outputs: Sequence[Sequence[Output]]
    ) -> list[Sequence[int]]:
        """Writes the outputs of each batch; returns where they stand, batch by batch."""
        by_partition: dict[int, list[Output]] = {}
        for one, of_batch in zip(decided, outputs, strict=True):
            if of_batch:
                by_partition.setdefault(one.partition.tp.partition, []).extend(of_batch)
        if not by_partition:
            return [()] * len(decided)
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        offsets = await self._writer.write(by_partition)
        ended = loop.time()
        count = sum(len(of_partition) for of_partition in by_partition.values())
        self._setup.counts.committed(count, ended - started_at)
        self._rests_until = ended + rest_s(count, ended - started_at, self._setup.rest)
        places = {partition: iter(of_partition) for partition, of_partition in offsets.items()}
        return [
            [next(places[one.partition.tp.partition]) for _ in of_batch]
            for one, of_batch in zip(decided, outputs, strict=True)
        ]

    async def _tell(self, decided: Decided, offsets: Sequence[int]) -> None:
        """Tells the partition that a batch of its own is committed."""
        partition = decided.partition
        if partition.failure is not None:
            return
        try:
            await decided.batch.committed(offsets)
        except (Unavailable, StageStopped, KafkaRefused) as error:
            partition.failure = error
            return
        partition.done(decided)
        self._setup.counts.done(decided.records)


def rest_s(records: int, took_s: float, rest: Rest) -> float:
    """Returns how long more may pile up, behind a transaction of so many records, before the next
    one begins: it costs nearly as much for one record as for twenty."""
    if records >= PLENTY:
        return MARKERS_S
    share = (records - 1) / records
    wanted = max(rest.least_s, rest.times * share * took_s)
    return max(MARKERS_S, min(LONGEST_REST_S, wanted))
