import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import pytest

from runtime.process import run_beside
from runtime.waiting import first_of, is_cancelled, prefetched, within


async def test_a_cancellation_that_comes_with_the_answer_is_not_lost() -> None:
    """Lost, it leaves a role that was told to end running, and its task group waiting for ever."""
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(within(answer, 10.0))
    await asyncio.sleep(0)
    answer.set_result(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_answer_that_does_not_come_is_a_time_out() -> None:
    never: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await within(never, 0.01)


async def test_the_first_event_ends_the_wait_and_leaves_no_task() -> None:
    one, other = asyncio.Event(), asyncio.Event()
    one.set()
    before = len(asyncio.all_tasks())
    await first_of(one, other)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


async def test_the_next_item_is_made_while_the_last_is_used() -> None:
    made: list[int] = []

    async def items() -> AsyncGenerator[int, None]:
        for n in range(3):
            made.append(n)
            yield n

    used: list[tuple[int, int]] = []
    async for n in prefetched(items()):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        used.append((n, len(made)))
    assert used == [(0, 2), (1, 3), (2, 3)]


async def test_an_error_of_prefetched_items_comes_after_the_items_before_it() -> None:
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        raise LookupError("the second")

    prepared = prefetched(items())
    assert await anext(prepared) == 1
    await asyncio.sleep(0)
    with pytest.raises(LookupError, match="the second"):
        await anext(prepared)


async def test_whoever_stops_early_leaves_nothing_under_way() -> None:
    ended = asyncio.Event()

    async def items() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with aclosing(prefetched(items())) as prepared:
        async for _ in prepared:
            await asyncio.sleep(0)
            break
    assert ended.is_set()


async def test_companions_end_once_the_work_has_and_the_error_of_one_ends_all() -> None:
    ended: list[str] = []

    async def companion(stop: asyncio.Event) -> None:
        await stop.wait()
        ended.append("companion")

    async def work() -> None:
        await asyncio.sleep(0.01)
        ended.append("work")

    await run_beside(work, companion)
    assert ended == ["work", "companion"]

    async def broken(stop: asyncio.Event) -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await run_beside(asyncio.Event().wait, companion, broken)


async def test_a_companion_that_loses_its_cancellation_ends_with_the_work_that_failed() -> None:
    """As a Kafka client does where it comes together with an answer."""

    async def deaf(stop: asyncio.Event) -> None:
        while not stop.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)

    async def work() -> None:
        await asyncio.sleep(0.01)
        raise ZeroDivisionError

    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup):
            await run_beside(work, deaf)


async def test_a_task_that_was_cancelled_knows_it_even_if_a_library_lost_the_cancellation() -> None:
    waiting = asyncio.Event()

    async def losing() -> bool:
        assert not is_cancelled()
        with suppress(asyncio.CancelledError):
            waiting.set()
            await asyncio.Event().wait()
        return is_cancelled()

    task = asyncio.create_task(losing())
    await waiting.wait()
    task.cancel()
    assert await task
