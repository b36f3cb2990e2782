"""Folds what the partitions have committed into the read model, one database transaction for
several partitions. Answers to commands do not wait for the fold."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from projector.metrics import ProjectorMetrics
from read_model.fold import Stretch
from read_model.folding import ReadModelMoved
from read_model.store import ReadModel
from runtime.errors import LockstreamError, ReadModelUnavailable, StreamViolation
from runtime.readiness import Readiness
from runtime.waiting import first_of

log = logging.getLogger(__name__)

PENDING_EVENTS = 20_000
"""More than this many committed and not yet folded, and the partitions wait."""
PENDING_BYTES = 32 * 1024 * 1024
"""The same for what these take, however few they are."""
TRANSACTION_EVENTS = 4_000
COLLECT_S = 0.02
"""Seconds that more may pile up before it is folded in: a database transaction costs nearly as much
for one event as for twenty, and CPU that it takes is CPU that the answers under way don't get."""
RETRY_S = 0.25
WATCH_EVERY_S = 2.0
OBSTACLE = "read model"


class Submitter(Protocol):
    """Hands the stretches of one partition over, and is told what became of them."""

    def folded(self, batch: int, stretch: Stretch) -> None:
        """The read model holds everything up to this batch, whose stretch this was."""

    def fold_failed(self, error: LockstreamError) -> None:
        """A stretch can't be folded in, nor will any later one of this submitter be."""


class Unfolded(msgspec.Struct, frozen=True):
    """Holds a committed stretch that waits to be folded in. ``batch``: its submitter's number for
    it."""

    submitter: Submitter
    batch: int
    stretch: Stretch

    @property
    def size(self) -> int:
        return len(self.stretch.events) + len(self.stretch.parked)

    @property
    def bytes(self) -> int:
        return sum(len(event.value) for event in self.stretch.events)


class Watched(msgspec.Struct, frozen=True):
    """Says what the model held of a partition when it was last looked at or folded into."""

    submitter: Submitter
    generation: int
    next_offset: int


class FoldQueue:
    def __init__(
        self, read_model: ReadModel, readiness: Readiness, metrics: ProjectorMetrics
    ) -> None:
        self._read_model = read_model
        self._readiness = readiness
        self._metrics = metrics
        self._pending: list[Unfolded] = []
        self._size = 0
        self._bytes = 0
        self._changed = asyncio.Event()
        self._plenty = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._watched: dict[int, Watched] = {}
        self._watched_at = 0.0

    @property
    def size(self) -> int:
        """Counts the events and parked facts that are committed and not yet folded in."""
        return self._size

    async def submit(self, pending: Unfolded) -> None:
        """Queues a stretch. Waits while the queue is full."""
        await self._room.wait()
        self._pending.append(pending)
        self._size += pending.size
        self._bytes += pending.bytes
        if self._size >= TRANSACTION_EVENTS:
            self._plenty.set()
        if self._size >= PENDING_EVENTS or self._bytes >= PENDING_BYTES:
            self._room.clear()
        self._changed.set()

    def drop(self, partition: int) -> None:
        """Forgets what waits of this partition: whoever takes it reads it again from the log."""
        self._watched.pop(partition, None)
        dropped = [p for p in self._pending if p.stretch.partition == partition]
        self._remove(dropped)

    def _remove(self, gone: Sequence[Unfolded]) -> None:
        numbers = {id(pending) for pending in gone}
        self._bytes -= sum(p.bytes for p in self._pending if id(p) in numbers)
        self._pending = [p for p in self._pending if id(p) not in numbers]
        self._size = sum(p.size for p in self._pending)
        if self._size < TRANSACTION_EVENTS:
            self._plenty.clear()
        if self._size < PENDING_EVENTS // 2 and self._bytes < PENDING_BYTES // 2:
            self._room.set()

    def watch(self, partition: int, submitter: Submitter, generation: int, folded_to: int) -> None:
        """Tells the submitter, from now on, if the model no longer holds what it held up to here,
        or is of another generation: emptied and filled again, however quickly."""
        self._watched[partition] = Watched(submitter, generation, folded_to)

    async def run(self, stop: asyncio.Event) -> None:
        """Folds until ``stop`` is set and the queue is empty, or until the read model is away after
        that."""
        while not (stop.is_set() and not self._pending):
            if not self._pending:
                self._changed.clear()
                await first_of(self._changed, stop, timeout_s=WATCH_EVERY_S)
                await first_of(self._plenty, stop, timeout_s=COLLECT_S)
            if time.monotonic() - self._watched_at >= WATCH_EVERY_S:
                self._watched_at = time.monotonic()
                await self._watch()
            if self._pending and not await self._fold_next() and stop.is_set():
                log.warning("the read model is away: it will be caught up at the next start")
                return

    async def _fold_next(self) -> bool:
        """Folds the oldest of what is pending; returns False if the read model is away."""
        taken = self._oldest()
        try:
            await self._apply_or_blame(taken)
        except ReadModelUnavailable as error:
            self._readiness.block(OBSTACLE, str(error))
            await asyncio.sleep(RETRY_S)
            return False
        self._readiness.clear(OBSTACLE)
        self._remove(taken)
        return True

    async def _apply_or_blame(self, taken: list[Unfolded]) -> None:
        try:
            await self._apply(taken)
        except (ReadModelMoved, StreamViolation):
            await self._apply_one_by_one(taken)

    def _oldest(self) -> list[Unfolded]:
        taken: list[Unfolded] = []
        size = 0
        for pending in self._pending:
            if taken and size + pending.size > TRANSACTION_EVENTS:
                break
            taken.append(pending)
            size += pending.size
        return taken

    async def _apply_one_by_one(self, taken: list[Unfolded]) -> None:
        """Finds the partition whose stretch can't be folded in and tells it; the others go on."""
        failed: set[int] = set()
        for pending in taken:
            if pending.stretch.partition in failed:
                continue
            try:
                await self._apply([pending])
            except (ReadModelMoved, StreamViolation) as error:
                failed.add(pending.stretch.partition)
                self._forget(pending.stretch.partition, pending.submitter)
                pending.submitter.fold_failed(error)

    async def _apply(self, taken: list[Unfolded]) -> None:
        with_events = [p.stretch for p in taken if p.stretch.events]
        with_parked = [p.stretch for p in taken if p.stretch.parked]
        with self._metrics.fold.time():
            # Parked facts first: whoever does not find one may rely on the position of the events.
            if with_parked:
                await self._read_model.apply_parked(with_parked)
            if with_events:
                await self._read_model.apply(with_events)
        for pending in taken:
            pending.submitter.folded(pending.batch, pending.stretch)
            if pending.stretch.events:
                self._advance(pending)

    def _advance(self, folded: Unfolded) -> None:
        """Moves what is watched, unless another submitter has taken the partition meanwhile."""
        watched = self._watched.get(folded.stretch.partition)
        if watched is not None and watched.submitter is folded.submitter:
            self._watched[folded.stretch.partition] = msgspec.structs.replace(
                watched, next_offset=max(watched.next_offset, folded.stretch.end)
            )

    def _forget(self, partition: int, submitter: Submitter) -> None:
        watched = self._watched.get(partition)
        if watched is not None and watched.submitter is submitter:
            del self._watched[partition]

    async def _watch(self) -> None:
        """Notices that the model has been emptied or replaced while nothing was to be folded."""
        try:
            await self._read_model.notice_replaced_file()
            progress = await self._read_model.progress()
        except ReadModelUnavailable as error:
            self._readiness.block(OBSTACLE, str(error))
            return
        self._readiness.clear(OBSTACLE)
        for partition, watched in list(self._watched.items()):
            at = progress.events.get(partition)
            same = progress.generation == watched.generation
            if not same or at is None or at.next_offset < watched.next_offset:
                self._forget(partition, watched.submitter)
                watched.submitter.fold_failed(
                    ReadModelMoved(
                        f"the read model of partition {partition} was emptied or replaced"
                    )
                )
