"""Waits: for an answer, for the first of several events, for work that may be stopped."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def within(answer: Awaitable[T], timeout_s: float) -> T:
    """Returns the answer, if it comes in time. Not ``asyncio.wait_for``: before Python 3.12 that
    loses a cancellation which arrives together with the answer, and whoever cancelled waits for
    ever.

    Raises:
        TimeoutError: it does not.
    """
    async with asyncio.timeout(timeout_s):
        return await answer


def is_cancelled() -> bool:
    """Returns whether the current task was asked to end, even if that was lost on its way: before
    Python 3.12 a library's ``asyncio.wait_for`` swallows a cancellation that comes with its answer.
    A loop over such calls looks here."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def first_of(*events: asyncio.Event, timeout_s: float | None = None) -> None:
    """Returns when one of the events is set or the time is over."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def prefetched(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Yields the same items, and makes the next one while the last is being used. An error is
    raised in its place, after the items before it."""

    async def next_item() -> T:
        return await anext(items)

    coming = asyncio.create_task(next_item())
    try:
        while True:
            try:
                item = await coming
            except StopAsyncIteration:
                return
            coming = asyncio.create_task(next_item())
            yield item
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def until_stopped(stop: asyncio.Event, work: Coroutine[object, object, None]) -> None:
    """Runs ``work`` until it ends or ``stop`` is set, then cancels it; raises its error."""
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for pending in (task, waiter):
            if not pending.done():
                pending.cancel()
                with suppress(asyncio.CancelledError):
                    await pending
