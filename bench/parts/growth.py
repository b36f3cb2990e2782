"""Measures what one command costs as the system grows, at a fixed rate. The cost should stay flat,
or be explained. The systems of one kind of growth all run, and take their turns."""

import time
from collections.abc import Callable, Sequence

import msgspec

from bench.backlogs import StallWatch, project
from bench.facts import publish
from bench.lockstream_roles import ORG, Roles, metric
from bench.measurement import Case, Numbers
from bench.names import (
    EVENTS_GROWTH,
    LOCKS_GROWTH,
    PARTNERS_GROWTH,
    REPLICAS_GROWTH,
)
from bench.workbench import LOCKS, Workbench, loaded

LOADED_LOCKS = 10_000
FIRST_LOCK = 1_000
CATCH_UP_POLL_S = 1.0

Grown = tuple[Roles, Sequence[int]]
"""A system whose roles all run, and its locks."""
MakeGrown = Callable[[Workbench, int], Grown]
"""One of that size."""


def measure_growth(bench: Workbench) -> None:
    sizes = bench.sizes
    compare_sizes(bench, EVENTS_GROWTH, sizes.events, with_events)
    compare_sizes(bench, LOCKS_GROWTH, sizes.locks, with_locks)
    compare_sizes(bench, REPLICAS_GROWTH, sizes.replicas, _with_replicas)
    for size in sizes.growth_partners:
        # One by one: a hundred partners are not idle, even if nothing happens.
        compare_sizes(bench, PARTNERS_GROWTH, (size,), _with_partners)


def compare_sizes(bench: Workbench, name: str, sizes: Sequence[int], make: MakeGrown) -> None:
    running: list[Roles] = []
    try:
        cases = []
        for size in sizes:
            roles, locks = make(bench, size)
            running.append(roles)
            cases.append(_case(bench, name, size, roles, locks))
        bench.measure(cases)
    finally:
        for roles in running:
            roles.stop()


def _case(bench: Workbench, name: str, size: int, roles: Roles, locks: Sequence[int]) -> Case:
    step = max(1, len(locks) // LOADED_LOCKS)
    plan = roles.plan(locks[::step], bench.sizes.growth_seconds)
    bench.warm_up(plan)
    timed = msgspec.structs.replace(plan, rate=float(bench.sizes.growth_rate))

    def run() -> Numbers:
        numbers = loaded(bench, timed, roles.pids)
        return {**numbers, "undelivered_records": _undelivered(roles)}

    return Case(name, {"size": size}, run, lambda: _catch_up(roles))


def _undelivered(roles: Roles) -> float:
    """Returns how many events the fan-out has still to look at, for each partner.

    Raises:
        TimeoutError: it is too busy to say for a minute and a half.
    """
    watch = StallWatch("the fan-out")
    while (behind := _behind(roles)) is None:
        watch.see(None)
    return behind


def _catch_up(roles: Roles) -> None:
    """Waits until the fan-out has caught up.

    Raises:
        TimeoutError: the fan-out is behind, and not less so for a minute and a half.
    """
    watch = StallWatch("the fan-out")
    while behind := _undelivered(roles):
        watch.see(-behind)
        time.sleep(CATCH_UP_POLL_S)


def _behind(roles: Roles) -> float | None:
    """Returns how far the fan-out is behind; None if it is too busy to say."""
    try:
        return sum(metric(each.page, "lockstream_lag_records") for each in roles.running("fanout"))
    except OSError:
        return None


def _prepared(
    bench: Workbench,
    *,
    locks: Sequence[int] = LOCKS,
    events: int = 0,
    partners: int = 1,
    replicas: int = 1,
) -> Grown:
    roles = bench.roles()
    try:
        project(roles, publish(roles.settings, ORG, locks, events), bench.placement.beside)
    except BaseException:
        roles.stop()
        raise
    return _started(bench, roles, locks, partners, replicas - 1)


def _started(
    bench: Workbench,
    roles: Roles,
    locks: Sequence[int],
    partners: int = 1,
    more_projectors: int = 0,
) -> Grown:
    """Starts the rest of an installation, whose projector runs already."""
    try:
        roles.add_partners(partners)
        for _ in range(more_projectors):
            roles.start("projector", bench.placement.beside)
        for _ in roles.running("projector"):
            roles.start("fanout", bench.placement.beside)
            roles.start("api", bench.placement.measured)
        roles.wait_until_ready()
    except BaseException:
        roles.stop()
        raise
    return roles, locks


def restarted(bench: Workbench, roles: Roles) -> Grown:
    """Starts an installation whose stream is there, and of which nothing runs."""
    roles.start("projector", bench.placement.beside)
    return _started(bench, roles, LOCKS)


def with_events(bench: Workbench, size: int) -> Grown:
    return _prepared(bench, events=max(0, size - len(LOCKS)))


def with_locks(bench: Workbench, size: int) -> Grown:
    return _prepared(bench, locks=range(FIRST_LOCK, FIRST_LOCK + size))


def _with_partners(bench: Workbench, size: int) -> Grown:
    return _prepared(bench, partners=size)


def _with_replicas(bench: Workbench, size: int) -> Grown:
    return _prepared(bench, replicas=size)
