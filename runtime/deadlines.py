"""Gives many waits of one length their deadlines, with one timer of the event loop for all."""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType


class Alarm:
    """Goes off at ``due``, of the loop's clock, unless it is cancelled before."""

    __slots__ = ("_ring", "due")

    def __init__(self, due: float, ring: Callable[[], object]) -> None:
        self.due = due
        self._ring: Callable[[], object] | None = ring

    @property
    def is_over(self) -> bool:
        return self._ring is None

    def cancel(self) -> None:
        self._ring = None

    def go_off(self) -> None:
        ring, self._ring = self._ring, None
        if ring is not None:
            ring()


class Deadlines:
    """Sets alarms, all of which go off after the same time. They become due in the order that they
    are set in, so the loop needs a timer for the first of them only."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._alarms: deque[Alarm] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self, ring: Callable[[], object]) -> Alarm:
        # In Python 3.11 each look for the loop asks the kernel for our process id.
        loop = self._loop = self._loop or asyncio.get_running_loop()
        while self._alarms and self._alarms[0].is_over:
            self._alarms.popleft()
        alarm = Alarm(loop.time() + self._seconds, ring)
        self._alarms.append(alarm)
        if self._timer is None:
            self._timer = loop.call_at(alarm.due, self._go_off, alarm.due)
        return alarm

    def limit(self) -> "Limit":
        """Returns a context that raises ``TimeoutError`` where the task waits for too long, as
        ``asyncio.timeout`` does."""
        return Limit(self)

    def _go_off(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        # The loop's timers have milliseconds, and may come before their time.
        now = max(due, loop.time())
        while self._alarms and (self._alarms[0].is_over or self._alarms[0].due <= now):
            self._alarms.popleft().go_off()
        if self._alarms:
            due = self._alarms[0].due
            self._timer = loop.call_at(due, self._go_off, due)


class Limit:
    """Cancels the task that is in this context when the time is over."""

    __slots__ = ("_alarm", "_cancelled_before", "_deadlines", "_passed", "_task")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._passed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelled_before = task.cancelling()
        self._alarm = self._deadlines.set(self._pass)

    def _pass(self) -> None:
        self._passed = True
        self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._alarm.cancel()
        # Somebody else may have cancelled the task as well, and wants it to end.
        alone = self._passed and self._task.uncancel() <= self._cancelled_before
        if alone and kind is asyncio.CancelledError:
            raise TimeoutError from error
