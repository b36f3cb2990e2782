"""Gives a fault its system, and notes what comes of it."""

import time
from collections.abc import Awaitable, Callable
from random import Random

import msgspec

from chaos.history import Broken, Promise
from chaos.replicas import Replica
from chaos.system import Recovery, System
from runtime.errors import Unavailable

AT_ONCE_S = 3.0
"""After a graceful restart, and where nobody died."""
CRASH_S = 6.0
"""After SIGKILL: a process has to be started and to restore. Its session need not expire, since it
comes back under its own name (KIP-345)."""
SESSION_S = 15.0
"""Where a replica is missed only when its session (10 s) has expired."""
DELIVERY_LATER_S = 5.0
"""Partners get events on every partition at most so much later than commands are answered."""
GIVE_UP_S = 60.0


class Measured(msgspec.Struct, frozen=True):
    """One recovery. ``after``: of what, where a fault has more than one; ``usual``: the same
    questions asked before the fault, when nothing was broken: what the load and the machine take,
    and no fault did."""

    after: str
    bound_s: float
    recovery: Recovery
    usual: Recovery

    def in_time(self, patience: float) -> bool:
        """Tells whether commands took at most the bound, and delivery a little more, beyond what is
        usual."""
        bounds = (self.bound_s, self.bound_s + DELIVERY_LATER_S)
        times = (self.recovery.commands_s, self.recovery.delivery_s)
        usual = (self.usual.commands_s or 0.0, self.usual.delivery_s or 0.0)
        return all(
            took is not None and took <= bound * patience + before
            for took, bound, before in zip(times, bounds, usual, strict=True)
        )


class Injection(msgspec.Struct):
    """One fault as it happened. Times are of the monotonic clock; ``usual``: see ``Measured``."""

    fault: str
    alone: bool
    started_at: float
    in_flight: int
    usual: Recovery = Recovery(0.0, 0.0)
    ended: float = 0.0
    measured: list[Measured] = []
    broken: list[Broken] = []
    skipped: str = ""


class Scene:
    """A system and the fault that it is being put through. ``alone``: nothing else is broken, so
    recoveries can be measured and held to their bounds; ``patience``: how many times a bound may
    take on a machine that is shared and slow."""

    def __init__(self, system: System, rng: Random, injection: Injection, patience: float) -> None:
        self.system = system
        self.rng = rng
        self.patience = patience
        self._injection = injection

    @property
    def alone(self) -> bool:
        return self._injection.alone

    def pick(self, role: str) -> Replica:
        return self.rng.choice(self.system.fleet.running(role))

    async def recovers(self, after: str, bound_s: float) -> None:
        """Checks that from now on everything works again within the bound."""
        if not self.alone:
            return
        recovery = await self.system.recovery(time.monotonic(), GIVE_UP_S)
        measured = Measured(after, bound_s, recovery, self._injection.usual)
        self._injection.measured.append(measured)
        if not measured.in_time(self.patience):
            detail = f"{after}: {recovery}; with nothing broken: {measured.usual}"
            self.broke("everything recovers within its bound", detail)

    def broke(self, promise: Promise, detail: str) -> None:
        self._injection.broken.append(
            Broken(promise, f"{self._injection.fault}: {detail}", self._injection.started_at)
        )

    def skip(self, reason: str) -> None:
        self._injection.skipped = reason


Inject = Callable[[Scene], Awaitable[None]]


class Fault(msgspec.Struct, frozen=True):
    """``inject`` returns when the fault has ended and what it broke works again. ``touches``: what
    no other fault may touch meanwhile."""

    name: str
    touches: frozenset[str]
    inject: Inject
    weight: float = 1.0


async def run_fault(
    fault: Fault, system: System, rng: Random, patience: float, *, alone: bool
) -> Injection:
    assert system.callers is not None
    usual = await system.recovery(time.monotonic(), GIVE_UP_S) if alone else Recovery(0.0, 0.0)
    started_at, in_flight = time.monotonic(), system.callers.in_flight
    injection = Injection(fault.name, alone, started_at, in_flight, usual)
    scene = Scene(system, rng, injection, patience)
    if usual.delivery_s is None:
        scene.broke("everything works before a fault", f"{usual}")
    try:
        await fault.inject(scene)
    except (TimeoutError, Unavailable) as error:
        if alone:
            scene.broke("the fault could be injected", repr(error))
        else:
            scene.skip(f"other faults were in its way ({error!r})")
    injection.ended = time.monotonic()
    return injection
