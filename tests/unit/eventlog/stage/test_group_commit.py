"""Partitions with little to write begin their transactions together."""

import asyncio

import pytest

from eventlog.stage.group_commit import LONGEST_S, PLENTY, GroupCommit


class Partition:
    """Takes one turn; ``begun`` is when it began, in the loop's time."""

    def __init__(self, group: GroupCommit, records: int = 1) -> None:
        self.end = asyncio.Event()
        self.begun = 0.0
        self._began = asyncio.Event()
        self.task = asyncio.create_task(self._run(group, records))

    async def _run(self, group: GroupCommit, records: int) -> None:
        async with group.turn(records):
            self.begun = asyncio.get_running_loop().time()
            self._began.set()
            await self.end.wait()

    @property
    def has_begun(self) -> bool:
        return self._began.is_set()

    async def until_begun(self) -> float:
        await self._began.wait()
        return self.begun

    async def finish(self) -> float:
        """When it ended."""
        self.end.set()
        await self.task
        return asyncio.get_running_loop().time()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_while_a_group_is_under_way_begins_together_after_it() -> None:
    group = GroupCommit(times=0.0)
    first, second = Partition(group), Partition(group)
    await first.until_begun()
    assert second.has_begun
    third, fourth = Partition(group), Partition(group)
    await first.finish()
    await settled()
    assert not third.has_begun
    await second.finish()
    await third.until_begun()
    assert fourth.has_begun
    await third.finish()
    await fourth.finish()


async def test_a_partition_with_plenty_to_write_waits_for_nobody() -> None:
    group = GroupCommit(times=0.0)
    first = Partition(group)
    await first.until_begun()
    plenty = Partition(group, PLENTY)
    await settled()
    assert plenty.has_begun
    await plenty.finish()
    await first.finish()


async def test_a_partition_that_hangs_holds_up_the_others_once_and_not_for_long() -> None:
    group = GroupCommit(times=0.0)
    hanging = Partition(group)
    began = await hanging.until_begun()
    late = Partition(group)
    async with asyncio.timeout(LONGEST_S * 100):
        assert await late.until_begun() >= began + 0.9 * LONGEST_S
    await late.finish()
    # The group that it is missing from ends without it, and so does every later one.
    after = Partition(group)
    await settled()
    assert after.has_begun
    await hanging.finish()
    another = Partition(group)
    await after.finish()
    await another.until_begun()
    await another.finish()


@pytest.mark.parametrize("rounds", range(8))
async def test_a_partition_that_is_cancelled_as_its_turn_comes_holds_up_nobody(rounds: int) -> None:
    """``rounds`` of the loop after the group before has ended: in one of them its turn comes."""
    group = GroupCommit(times=0.0)
    first = Partition(group)
    await first.until_begun()
    gone, other = Partition(group), Partition(group)
    await settled()
    first.end.set()
    for _ in range(rounds):
        await asyncio.sleep(0)
    gone.task.cancel()
    await asyncio.gather(gone.task, return_exceptions=True)
    await other.until_begun()
    await other.finish()
    last = Partition(group)
    await settled()
    assert last.has_begun
    await last.finish()


@pytest.mark.parametrize(("partitions", "times"), [(2, 2.0), (11, 20.0)])
async def test_a_group_of_several_is_followed_by_a_rest_in_proportion(
    partitions: int, times: float
) -> None:
    """Two of two partitions rest as long as it says; two of eleven for a tenth of it."""
    group = GroupCommit(times)
    group.partitions = partitions
    first, second = Partition(group), Partition(group)
    began = await first.until_begun()
    await asyncio.sleep(LONGEST_S / 10)
    await first.finish()
    ended = await second.finish()
    third = Partition(group)
    rested = await third.until_begun() - ended
    assert rested >= 0.9 * min(LONGEST_S, 2.0 * (ended - began))
    await third.finish()


async def test_no_rest_is_longer_than_the_longest() -> None:
    group = GroupCommit(times=1_000_000.0)
    first, second = Partition(group), Partition(group)
    await first.until_begun()
    await first.finish()
    await second.finish()
    async with asyncio.timeout(LONGEST_S * 100):
        third = Partition(group)
        await third.until_begun()
    await third.finish()


async def test_one_transaction_alone_is_followed_by_no_rest() -> None:
    group = GroupCommit(times=1_000_000.0)
    first = Partition(group)
    await first.until_begun()
    await first.finish()
    second = Partition(group)
    await settled()
    assert second.has_begun
    await second.finish()
