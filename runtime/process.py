"""How a role runs: one event loop, signals that ask it to drain, an exit code that tells."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

import uvloop

from runtime.errors import ConfigurationError, KafkaRefused, LockstreamError

log = logging.getLogger(__name__)

T = TypeVar("T")
Role = Callable[[asyncio.Event], Awaitable[None]]
Companion = Callable[[asyncio.Event], Coroutine[object, object, None]]
"""Runs until the event is set."""


def collect_rarely() -> None:
    """For processes that make many short-lived objects and few cycles."""
    # Start-up garbage lives for ever: keep it out of every later collection.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def run_role(name: str, role: Role) -> int:
    """Runs ``role(stop)`` until it ends; SIGTERM and SIGINT set ``stop``. Returns the exit code:
    0 after an orderly stop, 2 for what a restart does not mend (bad configuration, a refusal of
    Kafka's), 1 for anything else.
    """
    collect_rarely()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_with_signals(role))
    except (LockstreamError, ExceptionGroup) as error:
        for cause in _leaves(error):
            if isinstance(cause, ConfigurationError | KafkaRefused):
                print(f"lockstream {name}: {cause}", file=sys.stderr)
                return 2
            known = isinstance(cause, LockstreamError)
            log.error("%s stops: %s", name, cause or repr(cause), exc_info=None if known else cause)
        return 1
    return 0


def _leaves(error: Exception) -> list[Exception]:
    """The errors of a group of groups, flat."""
    if isinstance(error, ExceptionGroup):
        return [leaf for member in error.exceptions for leaf in _leaves(member)]
    return [error]


def first_leaf(error: Exception) -> Exception:
    """The first error of a group of groups, or the error itself."""
    return _leaves(error)[0]


async def _with_signals(role: Role) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await role(stop)


async def run_beside(work: Callable[[], Awaitable[object]], *companions: Companion) -> None:
    """Runs ``work``, and beside it its companions, which are stopped once it has ended. The first
    error of any ends all."""
    ended = asyncio.Event()

    async def run_work() -> None:
        try:
            await work()
        finally:
            # After an error too: a client that loses the cancellation would run for ever.
            ended.set()

    async with asyncio.TaskGroup() as tasks:
        for companion in companions:
            tasks.create_task(companion(ended))
        tasks.create_task(run_work())


def stand_back(niceness: int) -> None:
    """Lets others on this machine have the CPU first (nice(2)). For good: only root could take it
    back. Does nothing where there is no such thing."""
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)


async def within(answer: Awaitable[T], timeout_s: float) -> T:
    """The answer, if it comes in time. Not ``asyncio.wait_for``: before Python 3.12 that loses a
    cancellation which arrives together with the answer, and whoever cancelled waits for ever.

    Raises:
        TimeoutError: it does not.
    """
    async with asyncio.timeout(timeout_s):
        return await answer


async def first_of(*events: asyncio.Event, timeout_s: float | None = None) -> None:
    """Returns when one of the events is set or the time is over."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def prefetched(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The same items, the next one made while the last is being used. Their error is raised in
    its place, after the items before it."""

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
    """Runs ``work`` until it ends or ``stop`` is set, then cancels it. Its error is raised."""
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
