import asyncio

import pytest

from lockstream.eventlog.feed import FULL_RECORDS, Feed
from lockstream.eventlog.kafka import Record
from lockstream.runtime.errors import PositionLost


def records(begin: int, end: int, size: int = 10) -> list[Record]:
    return [Record(0, n, 0, b"k", b"x" * size, ()) for n in range(begin, end)]


def opened() -> Feed:
    feed = Feed()
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
    feed.offer(records(0, FULL_RECORDS))
    assert (feed.is_full, feed.has_room) == (True, False)
    feed.close()
    assert (feed.is_full, feed.has_room) == (False, True)
    feed.offer(records(0, 9, size=1_000_000))
    assert (feed.is_full, feed.has_room) == (True, False)
