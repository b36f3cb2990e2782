"""A budget is one amount for a whole process, shared by all that want some of it.

Each may hold as much as is still free for everybody: of ``n`` that want ever more each gets ``total
/ (n + 1)``, and as much stays free for whoever comes next (dynamic thresholds, Choudhury and Hahne
1998). Nothing is set aside for those that want nothing, and one that never gives back what it holds
can't keep another from its part.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Budget:
    """Hands out shares. All of them are used in one event loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._shares: set[Share] = set()

    @property
    def free(self) -> int:
        return max(0, self.total - self.used)

    def share(self, changed: asyncio.Event | None = None) -> "Share":
        """Returns a share that holds nothing yet; it is to be closed. ``changed``: set whenever
        others have given something back."""
        share = Share(self, changed or asyncio.Event())
        self._shares.add(share)
        return share

    def change(self, amount: int) -> None:
        """Adds to what is held; a negative amount makes those that wait look again."""
        self.used += amount
        if amount < 0:
            for share in self._shares:
                share.call()

    def forget(self, share: "Share") -> None:
        self._shares.discard(share)


class Share:
    """Holds a part of the budget. ``held``: how much."""

    def __init__(self, budget: Budget, changed: asyncio.Event) -> None:
        self.held = 0
        self._budget = budget
        self._changed = changed
        self._waits = False

    @property
    def has_room(self) -> bool:
        """Returns whether it may take one more portion. One that holds nothing always may, so that
        nobody waits for another; then that portion exceeds the budget."""
        return self.held == 0 or self.held < self._budget.free

    @property
    def portion(self) -> int:
        """Returns what one piece of work may add while others may begin theirs."""
        return self._budget.free // 8

    def take(self, amount: int) -> None:
        self.held += amount
        self._budget.change(amount)

    def give_back(self, amount: int) -> None:
        if amount:
            self.held -= amount
            self._budget.change(-amount)

    def ask(self) -> bool:
        """Returns whether there is room. If not, ``changed`` will be set when it is worth asking
        again: whoever does not wait is not called, since a thousand are slow to call."""
        self._waits = not self.has_room
        return not self._waits

    def call(self) -> None:
        """Lets whoever waits ask again."""
        if self._waits:
            self._waits = False
            self._changed.set()

    async def wait_unless(self, given_up: Callable[[], bool]) -> bool:
        """Returns True as soon as there is room, False once ``given_up`` says so. Both are checked
        at each ``call``. A thousand partitions that take their turns wait here: looking several
        times a second would cost more than their turns."""
        while not given_up():
            if self.ask():
                return True
            self._changed.clear()
            await self._changed.wait()
        return False

    @asynccontextmanager
    async def turn(self, given_up: Callable[[], bool]) -> AsyncIterator[bool]:
        """Waits for room, as ``wait_unless``, and holds one for as long as the block runs. Yields
        False, and holds nothing, if ``given_up`` said so."""
        held = int(await self.wait_unless(given_up))
        self.take(held)
        try:
            yield bool(held)
        finally:
            self.give_back(held)

    def close(self) -> None:
        """Gives back all that is held, and counts no longer."""
        self._budget.change(-self.held)
        self._budget.forget(self)
        self._budget = Budget(self._budget.total)
