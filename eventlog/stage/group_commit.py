"""Group commit lets partitions that have little to write begin their transactions together.

What begins together is committed together, so that whoever reads the output finds all of it with
one fetch and not with one for each partition. While a group is under way, more accumulates for the
next one. A partition with plenty to write waits for nobody.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PLENTY = 100
"""Records that are worth a transaction of their own, however busy the machine is."""
LONGEST_S = 0.05
"""The next group waits no longer than this for the one before, and then no longer in rest: one
partition whose leader is away holds up the others once, and not again before it has come back."""


class GroupCommit:
    """Groups the transactions of one stage in one process. ``partitions``: how many the stage has
    here.

    After a group has committed, the next waits ``times`` × the group's duration × (size - 1) /
    (partitions - 1), but 50 ms at most: the more partitions have something to write, the more
    accumulates for one transaction during a rest.
    """

    def __init__(self, times: float) -> None:
        self.partitions = 1
        self._times = times
        self._waiting: list[asyncio.Future[int]] = []
        self._group = 0
        self._size = 0
        self._under_way = 0
        self._started_at = 0.0
        self._not_before = 0.0
        self._timer: asyncio.Handle | None = None

    @asynccontextmanager
    async def turn(self, records: int) -> AsyncIterator[None]:
        """Covers one transaction of so many records; it begins with the next group."""
        if records >= PLENTY:
            yield
            return
        group = await self._begin()
        try:
            yield
        finally:
            self._ended(group)

    async def _begin(self) -> int:
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._schedule()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._ended(turn.result())
            raise

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        at = self._started_at + LONGEST_S if self._under_way else self._not_before
        # Not at once: whatever was fetched together is to be in one group.
        later = at - loop.time()
        self._timer = (
            loop.call_later(later, self._begin_group)
            if later > 0
            else loop.call_soon(self._begin_group)
        )

    def _begin_group(self) -> None:
        self._timer = None
        turns = [turn for turn in self._waiting if not turn.done()]
        self._waiting.clear()
        if not turns:
            return
        self._group += 1
        self._size = self._under_way = len(turns)
        self._started_at = asyncio.get_running_loop().time()
        for turn in turns:
            turn.set_result(self._group)

    def _ended(self, group: int) -> None:
        if group != self._group:
            # It took so long that others have begun without it.
            return
        self._under_way -= 1
        if self._under_way:
            return
        now = asyncio.get_running_loop().time()
        share = (self._size - 1) / max(1, self.partitions - 1)
        self._not_before = now + min(LONGEST_S, self._times * share * (now - self._started_at))
        self._schedule()
