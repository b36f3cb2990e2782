"""What the queue tells the partitions of the read model behind them. On both databases."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from projector.fold_queue import FoldQueue, Unfolded
from projector.metrics import ProjectorMetrics
from read_model.fold import CommittedEvent, ParkedFact, Stretch
from read_model.folding import ReadModelMoved
from read_model.store import ReadModel
from runtime.errors import LockstreamError
from runtime.readiness import Readiness
from schemas.lock_events import Event, encode_event
from schemas.parked_facts import ParkedHeaders
from tests.examples_of import TIME, created_event, used_event
from tests.integration.kafka_tools import eventually

EVENTS: list[Event] = [created_event(), used_event(version=2)]
FIRST, SECOND = (
    Stretch(0, n, n + 1, events=[CommittedEvent(n, n, event, encode_event(event))])
    for n, event in enumerate(EVENTS)
)
PARKED = Stretch(
    0,
    0,
    1,
    parked=[ParkedFact(0, ParkedHeaders("unknown-lock", "no lock 9", "lock-facts", 3, TIME))],
)


class Submitter:
    def __init__(self) -> None:
        self.ends: list[int] = []
        self.failures: list[LockstreamError] = []

    def folded(self, batch: int, stretch: Stretch) -> None:
        self.ends.append(stretch.end)

    def fold_failed(self, error: LockstreamError) -> None:
        self.failures.append(error)

    async def has_failed(self) -> bool:
        return bool(self.failures)


@asynccontextmanager
async def running(model: ReadModel) -> AsyncIterator[FoldQueue]:
    readiness = Readiness()
    queue = FoldQueue(model, readiness, ProjectorMetrics(readiness, lambda: ()))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(queue.run(stop))
        yield queue
        stop.set()


async def test_a_model_that_was_emptied_and_filled_again_at_once_is_noticed(
    read_model: ReadModel,
) -> None:
    """Else what only this queue would have brought back stays away for good."""
    owner = Submitter()
    await read_model.apply([FIRST])
    async with running(read_model) as queue:
        generation = (await read_model.progress()).generation
        queue.watch(0, owner, generation, 1)
        await read_model.reset()
        await read_model.apply([FIRST])
        await eventually(owner.has_failed)
    assert [type(error) for error in owner.failures] == [ReadModelMoved]


async def test_a_parked_fact_that_follows_on_a_model_of_before_fails_its_partition(
    read_model: ReadModel,
) -> None:
    owner = Submitter()
    before = (await read_model.progress()).generation
    await read_model.reset()
    async with running(read_model) as queue:
        await queue.submit(Unfolded(owner, 1, msgspec.structs.replace(PARKED, generation=before)))
        await eventually(owner.has_failed)
    assert await read_model.count_parked() == 0


@pytest.mark.parametrize("fails", [False, True])
async def test_an_owner_of_before_whose_fold_ends_late_takes_nothing_from_the_new_one(
    read_model: ReadModel, fails: bool
) -> None:
    """Whether it ends well or not, it is the new one that is told of a loss."""
    old, new = Submitter(), Submitter()
    generation = (await read_model.progress()).generation
    async with running(read_model) as queue:
        await queue.submit(Unfolded(old, 1, SECOND if fails else FIRST))
        queue.watch(0, new, generation, 0)

        async def late() -> bool:
            return bool(old.ends or old.failures)

        await eventually(late)
        assert bool(old.failures) == fails
        await read_model.reset()
        await eventually(new.has_failed)
    assert len(old.failures) == fails


async def test_a_partition_that_can_not_be_folded_is_told_and_holds_up_no_other(
    read_model: ReadModel,
) -> None:
    broken, fine = Submitter(), Submitter()
    events: list[Event] = [created_event(8), used_event(8)]
    others = [
        Stretch(1, n, n + 1, events=[CommittedEvent(n, n, event, encode_event(event))])
        for n, event in enumerate(events)
    ]
    gap, later = SECOND, msgspec.structs.replace(SECOND, begin=2, end=3)
    async with running(read_model) as queue:
        await queue.submit(Unfolded(fine, 1, others[0]))
        await queue.submit(Unfolded(broken, 1, gap))
        await queue.submit(Unfolded(fine, 2, others[1]))
        await queue.submit(Unfolded(broken, 2, later))

        async def all_are_done_with() -> bool:
            return queue.size == 0

        await eventually(all_are_done_with)
    assert (broken.ends, [type(error) for error in broken.failures]) == ([], [ReadModelMoved])
    assert (fine.ends, fine.failures) == ([1, 2], [])
    assert await read_model.known_lock_ids([7, 8]) == {8}


class Interrupted(ReadModel):
    """What it has when the events of a batch are about to be folded in."""

    parked_before: int | None = None

    async def apply(self, stretches: Sequence[Stretch]) -> None:
        self.parked_before = await self.count_parked()
        await super().apply(stretches)


async def test_parked_facts_are_there_before_the_position_of_the_events_says_so(
    read_model: ReadModel,
) -> None:
    """Between the two, or after a crash there, nobody may take a parked fact for none."""
    model = Interrupted(read_model._database, read_model._topics)
    owner = Submitter()
    async with running(model) as queue:
        await queue.submit(Unfolded(owner, 1, FIRST))
        await queue.submit(Unfolded(owner, 1, PARKED))

        async def folded() -> bool:
            return len(owner.ends) == 2

        await eventually(folded)
    assert model.parked_before == 1
