"""Runs a role: one event loop, signals that ask it to drain, an exit code that tells why it
ended."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine

import uvloop

from runtime.errors import AlreadySaid, ConfigurationError, KafkaRefused, LockstreamError

log = logging.getLogger(__name__)

Role = Callable[[asyncio.Event], Awaitable[None]]
Companion = Callable[[asyncio.Event], Coroutine[object, object, None]]
"""Runs until the event is set."""


def collect_rarely() -> None:
    """Tunes the garbage collector for many short-lived objects and few cycles."""
    # Start-up garbage lives for ever: keep it out of every later collection.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def run_role(name: str, role: Role) -> int:
    """Runs ``role(stop)`` until it ends; SIGTERM and SIGINT set ``stop``. Returns the exit code: 0
    after an orderly stop, 2 for what a restart does not mend (bad configuration, a refusal of
    Kafka's), 1 for anything else."""
    collect_rarely()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_with_signals(role))
    except (LockstreamError, ExceptionGroup) as error:
        for cause in _leaves(error):
            if isinstance(cause, ConfigurationError | KafkaRefused):
                if not isinstance(cause, AlreadySaid):
                    print(f"lockstream {name}: {cause}", file=sys.stderr)
                return 2
            ours = isinstance(cause, LockstreamError)
            log.error("%s stops: %s", name, cause or repr(cause), exc_info=None if ours else cause)
        return 1
    return 0


def _leaves(error: Exception) -> list[Exception]:
    """Returns the errors of a group of groups, flat."""
    if isinstance(error, ExceptionGroup):
        return [leaf for member in error.exceptions for leaf in _leaves(member)]
    return [error]


def first_leaf(error: Exception) -> Exception:
    """Returns the first error of a group of groups, or the error itself."""
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
    """Lets others on this machine have the CPU first (nice(2)), for good. Only root could take it
    back. Does nothing where there is no nice(2)."""
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
