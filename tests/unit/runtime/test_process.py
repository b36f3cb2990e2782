import asyncio

import pytest

from lockstream.runtime.process import first_of, within


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
