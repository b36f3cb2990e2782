"""Waits of one length end in time, all by one timer, as those of ``asyncio.timeout`` do."""

import asyncio

import pytest

from runtime.deadlines import Deadlines


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_alarms_go_off_in_the_order_that_they_were_set_in() -> None:
    deadlines, rung = Deadlines(0.02), list[int]()
    over = asyncio.Event()
    alarms = [deadlines.set(lambda n=n: rung.append(n)) for n in range(5)]  # type: ignore[misc]
    alarms[0].cancel()
    alarms[3].cancel()
    await asyncio.sleep(0.001)
    deadlines.set(over.set)
    async with asyncio.timeout(5):
        await over.wait()
    assert rung == [1, 2, 4]


async def test_what_was_cancelled_is_not_kept() -> None:
    deadlines = Deadlines(60.0)
    for _ in range(100):
        deadlines.set(asyncio.Event().set).cancel()
    assert len(deadlines._alarms) == 1


async def test_a_wait_that_lasts_too_long_ends_with_a_timeout() -> None:
    deadlines = Deadlines(0.02)
    async with asyncio.timeout(5):
        for _ in range(2):
            with pytest.raises(TimeoutError), deadlines.limit():
                await for_ever()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_wait_that_ends_in_time_is_left_alone() -> None:
    deadlines = Deadlines(0.01)
    with deadlines.limit():
        await asyncio.sleep(0)
    await asyncio.sleep(0.03)


async def test_a_cancellation_of_somebody_else_is_no_timeout() -> None:
    deadlines, waiting = Deadlines(0.02), asyncio.Event()

    async def work() -> None:
        with deadlines.limit():
            waiting.set()
            await for_ever()

    task = asyncio.create_task(work())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_beside_the_timeout_is_not_lost() -> None:
    deadlines = Deadlines(0.0)
    cancelled = False

    async def work() -> None:
        nonlocal cancelled
        with deadlines.limit():
            try:
                await for_ever()
            except asyncio.CancelledError:
                cancelled = True
                task.cancel()
                raise

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled
