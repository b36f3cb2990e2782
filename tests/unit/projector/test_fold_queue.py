import asyncio
from pathlib import Path

from projector.fold_queue import PENDING_BYTES, PENDING_EVENTS, FoldQueue, Unfolded
from projector.metrics import ProjectorMetrics
from read_model.fold import CommittedEvent, Stretch
from read_model.opening import open_read_model
from runtime.errors import LockstreamError
from runtime.readiness import Readiness
from runtime.settings import Settings
from tests.examples_of import used_event


class Submitter:
    def folded(self, batch: int, stretch: Stretch) -> None: ...

    def fold_failed(self, error: LockstreamError) -> None: ...


def queue(folder: Path) -> FoldQueue:
    readiness = Readiness()
    model = open_read_model(Settings(state_dir=folder))
    return FoldQueue(model, readiness, ProjectorMetrics(readiness, list))


def pending(events: int, value_bytes: int, partition: int = 0) -> Unfolded:
    event = CommittedEvent(0, 0, used_event(), b"x" * value_bytes)
    return Unfolded(Submitter(), 0, Stretch(partition, 0, events, events=[event] * events))


async def waits_for_room(fold_queue: FoldQueue, more: Unfolded) -> bool:
    """Whether it waits until what was queued is gone."""
    submitting = asyncio.create_task(fold_queue.submit(more))
    for _ in range(5):
        await asyncio.sleep(0)
    waited = not submitting.done()
    fold_queue.drop(0)
    await submitting
    return waited


async def test_partitions_wait_while_much_is_not_folded_whether_in_number_or_in_size(
    tmp_path: Path,
) -> None:
    few = pending(1, 10)
    for full in (pending(PENDING_EVENTS, 10), pending(1, PENDING_BYTES)):
        fold_queue = queue(tmp_path)
        await fold_queue.submit(full)
        assert await waits_for_room(fold_queue, few)
    fold_queue = queue(tmp_path)
    await fold_queue.submit(pending(100, 400))
    assert not await waits_for_room(fold_queue, few)


async def test_what_waits_of_one_partition_is_forgotten_alone(tmp_path: Path) -> None:
    """Its new owner reads it again from the log; nobody reads the others' again."""
    fold_queue = queue(tmp_path)
    for each in (pending(3, 10), pending(5, 10, partition=1), pending(2, 10)):
        await fold_queue.submit(each)
    fold_queue.drop(0)
    assert fold_queue.size == 5
    fold_queue.drop(0)
    assert fold_queue.size == 5
    fold_queue.drop(1)
    assert fold_queue.size == 0
