"""Asks the read model for one partition, and hands the fold what the model lacks."""

from collections.abc import Sequence

import msgspec

from eventlog.stage.stage_partition import Fail
from projector.fold_queue import FoldQueue, Unfolded
from projector.lock_states import FactLookups, LockStates
from read_model.fold import CommittedEvent, ParkedFact, Stretch
from read_model.folding import ReadModelMoved
from read_model.rows import Position, Progress
from read_model.store import ReadModel
from runtime.errors import LockstreamError


class PartitionModel:
    """Implements ``fold_queue.Submitter``. ``states`` covers whatever was committed and is not
    folded in yet; ``next_parked_offset``: where the next stretch of parked facts begins."""

    def __init__(
        self, partition: int, read_model: ReadModel, fold_queue: FoldQueue, fail: Fail
    ) -> None:
        self.partition = partition
        self.states = LockStates(-1)
        self._read_model = read_model
        self._fold_queue = fold_queue
        self._fail = fail
        self.next_parked_offset = 0
        self._next_event_offset = 0
        self._generation = 0
        self._folded_to = 0

    async def begin(self) -> Progress:
        """Forgets everything, also what waits to be folded in, and returns what the model holds.

        Raises:
            ReadModelUnavailable: the read model can't be read.
        """
        self._fold_queue.drop(self.partition)
        progress = await self._read_model.progress()
        at = progress.events.get(self.partition, Position())
        self.states = LockStates(at.newest_id_ms)
        self._generation = progress.generation
        self._folded_to = self._next_event_offset = at.next_offset
        return progress

    def watch(self) -> None:
        """Makes the partition begin again if the model loses what it holds of it, from now on."""
        self._fold_queue.watch(self.partition, self, self._generation, self._folded_to)

    async def learn(self, lookups: FactLookups, before: int | None = None) -> None:
        """Asks the model for what is needed and ``states`` lacks; makes no request if that is
        nothing. ``before``: an offset that the model must not have passed; None for any.

        Raises:
            ReadModelMoved: the model was emptied or replaced, has gone back, or has passed it.
            ReadModelUnavailable: the read model can't be read.
        """
        if not lookups:
            return
        # What is folded in while we wait need not be in the answer.
        folded_to = self._folded_to
        known = await self._read_model.known(
            self.partition, lookups.locks, lookups.temp_keys, lookups.event_ids, lookups.lock_uuids
        )
        where, at = f"the read model of partition {self.partition}", known.position.next_offset
        if known.generation != self._generation:
            raise ReadModelMoved(f"{where} was emptied or replaced")
        if at < folded_to:
            raise ReadModelMoved(f"{where} has gone back to {at}: it is being rebuilt")
        if before is not None and at > before:
            raise ReadModelMoved(
                f"{where} is at {at}, beyond {before}: another replica still folds it, or it is "
                "being rebuilt"
            )
        self.states.learn(lookups, known)

    async def submit(
        self, batch: int, events: Sequence[CommittedEvent], parked: Sequence[ParkedFact]
    ) -> None:
        """Hands what a batch has committed to the fold. Waits while the fold is too far behind."""
        # Parked facts first, here as everywhere: what the model's position among the events says
        # to be done with is then there to be found, whichever it became.
        if parked:
            begin, end = self.next_parked_offset, parked[-1].offset + 1
            await self.submit_stretch(batch, Stretch(self.partition, begin, end, parked=parked))
        if events:
            begin, end = self._next_event_offset, events[-1].offset + 1
            await self.submit_stretch(batch, Stretch(self.partition, begin, end, events=events))

    async def submit_stretch(self, batch: int, stretch: Stretch) -> None:
        """Hands a stretch to the fold, which goes on behind it. Waits as ``submit``."""
        if stretch.events:
            self._next_event_offset = stretch.end
        else:
            self.next_parked_offset = stretch.end
        follows = msgspec.structs.replace(stretch, generation=self._generation)
        await self._fold_queue.submit(Unfolded(self, batch, follows))

    # -- fold_queue.Submitter --------------------------------------------------------------------

    def folded(self, batch: int, stretch: Stretch) -> None:
        # A batch's parked facts are folded before its events: they say nothing of those.
        if stretch.events:
            self.states.folded(batch)
            self._folded_to = max(self._folded_to, stretch.end)

    def fold_failed(self, error: LockstreamError) -> None:
        self._fail(error)
