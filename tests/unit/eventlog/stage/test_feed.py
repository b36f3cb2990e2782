import asyncio
import tracemalloc

import pytest

from eventlog.records import Record
from eventlog.stage.budget import Budget
from eventlog.stage.feed import FULL_BYTES, IN_WORK_TIMES, Feed, memory_of
from runtime.errors import PositionLost


def records(begin: int, end: int, size: int = 10) -> list[Record]:
    return [Record(0, n, 0, b"k", b"x" * size, ()) for n in range(begin, end)]


def opened(budget: Budget | None = None) -> Feed:
    feed = Feed((budget or Budget(10**9)).share())
    feed.open()
    return feed


def offsets(taken: list[Record] | None) -> list[int]:
    return [record.offset for record in taken or []]


async def test_records_come_out_in_order_and_bounded() -> None:
    feed = opened()
    feed.offer(records(0, 5))
    feed.offer(records(5, 8))
    assert offsets(await feed.take(6, 10**6)) == [0, 1, 2, 3, 4, 5]
    assert offsets(await feed.take(6, 10**6)) == [6, 7]


async def test_a_record_larger_than_the_bound_still_comes_alone() -> None:
    feed = opened()
    feed.offer(records(0, 3, size=5000))
    assert offsets(await feed.take(10, 100)) == [0]


async def test_what_was_put_back_comes_first() -> None:
    feed = opened()
    feed.offer(records(0, 4))
    taken = await feed.take(3, 10**6)
    feed.put_back((taken or [])[1:])
    assert offsets(await feed.take(10, 10**6)) == [1, 2, 3]


async def test_taking_waits_for_records() -> None:
    feed = opened()
    waiting = asyncio.create_task(feed.take(1, 1))
    await asyncio.sleep(0)
    feed.offer(records(7, 8))
    assert offsets(await waiting) == [7]


async def test_a_failure_reaches_the_owner_and_an_end_comes_before_it() -> None:
    feed = opened()
    feed.offer(records(0, 1))
    feed.fail(PositionLost("gone"))
    with pytest.raises(PositionLost):
        await feed.take(1, 1)
    feed.end()
    assert await feed.take(1, 1) is None


def test_a_full_feed_says_so_and_has_room_again_when_much_was_taken() -> None:
    feed = opened()
    feed.offer(records(0, FULL_BYTES // memory_of(records(0, 1)[0]) + 1))
    assert (feed.is_full, feed.has_room) == (True, False)
    feed.close()
    assert (feed.is_full, feed.has_room) == (False, True)
    feed.offer(records(0, 9, size=1_000_000))
    assert (feed.is_full, feed.has_room) == (True, False)


async def test_what_waits_and_what_is_in_work_is_held_until_it_is_done_with() -> None:
    budget = Budget(10**9)
    feed = opened(budget)
    feed.offer(records(0, 4))
    each = memory_of(records(0, 1)[0])
    assert budget.used == 4 * each
    taken = await feed.take(3, 10**6) or []
    assert budget.used == each + 3 * each * IN_WORK_TIMES
    feed.put_back(taken[1:])
    assert budget.used == 3 * each + each * IN_WORK_TIMES
    feed.done()
    assert budget.used == 3 * each
    await feed.take(2, 10**6)
    feed.close()
    assert budget.used == 0


def test_a_record_counts_as_what_it_takes_in_memory() -> None:
    """Counted by Python itself, for records as they come from a client."""
    headers = [("event-id", "0198a3c2-1234-7000-8000-%012d"), ("version", "%d")]

    def received(number: int) -> Record:
        return Record(
            0,
            10**6 + number,
            1_795_441_973_073 + number,
            str(10**5 + number).encode(),
            b"%0400d" % number,
            tuple((name.encode().decode(), (value % number).encode()) for name, value in headers),
        )

    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = [received(number) for number in range(10**5, 10**5 + 1000)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / 1000 == pytest.approx(memory_of(kept[0]), rel=0.15)


async def test_what_fails_before_the_feed_is_open_is_raised_once_it_is() -> None:
    """A fold that began while the partition was restored may fail before the end of that."""
    feed = Feed(Budget(10**9).share())
    feed.begin()
    feed.fail(PositionLost("gone"))
    feed.open()
    with pytest.raises(PositionLost, match="gone"):
        async with asyncio.timeout(5):
            await feed.take(1, 10**6)


async def test_the_failure_of_one_attempt_does_not_end_the_next() -> None:
    feed = opened()
    feed.fail(PositionLost("gone"))
    feed.begin()
    feed.open()
    feed.offer(records(0, 1))
    assert offsets(await feed.take(1, 10**6)) == [0]
