"""Holds the targets, and judges a run by each. Pure."""

from collections.abc import Callable, Sequence

import msgspec

from bench.distributions import median
from bench.measurement import Measurement, Parameter, select
from bench.names import (
    AFTER,
    BACKLOG,
    BACKLOG_TURNS,
    BEFORE,
    BIG_EVENTS_GROWTH,
    BIG_LOCKS_GROWTH,
    CLOSED,
    COMMAND_TURNS,
    EVENTS_GROWTH,
    FANOUT,
    LOCKS_GROWTH,
    LOCKSTREAM,
    POSTGRES,
    PUBLISH_ONLY,
    READERS,
    UNVERSIONED,
    WHOLE_PATH,
)

SOME_PARTNERS = 10
FLAT = 1.25
"""What is called flat: the largest step costs at most a quarter more than the smallest."""

All = Sequence[Measurement]
Found = float | None


class Target(msgspec.Struct, frozen=True):
    """Describes a target. ``limit``: the worst value that meets it; ``aim``: what we would like, if
    that is more; ``at_least``: greater is better."""

    what: str
    limit: float
    aim: float | None
    at_least: bool
    unit: str
    find: Callable[[All], Found]


class Judged(msgspec.Struct, frozen=True):
    """What a run says of a target. ``met``, ``aim_met``: None when it was not measured."""

    target: Target
    measured: Found
    met: bool | None
    aim_met: bool | None


def judge(measurements: All) -> list[Judged]:
    judged = []
    for target in TARGETS:
        value = target.find(measurements)
        judged.append(
            Judged(target, value, _meets(target, value, target.limit), _aims(target, value))
        )
    return judged


def _aims(target: Target, value: Found) -> bool | None:
    return _meets(target, value, target.limit if target.aim is None else target.aim)


def _meets(target: Target, value: Found, bound: float) -> bool | None:
    if value is None:
        return None
    return value >= bound if target.at_least else value <= bound


def ratios(one: Measurement, other: Measurement, number: str) -> list[float]:
    """Returns ratios round by round: both were measured within seconds of each other."""
    pairs = zip(one.rounds, other.rounds, strict=False)
    return [a[number] / b[number] for a, b in pairs if b.get(number) and number in a]


def _one(measurements: All, name: str, **parameters: Parameter) -> Measurement | None:
    """Chooses one measurement: what is measured at ten million events too is judged at one."""
    found = select(measurements, name, **parameters)
    return min(found, key=_size) if found else None


def _size(measurement: Measurement) -> float:
    """Returns how many records it was about, if that is one of its parameters."""
    sizes = (measurement.parameters.get(name) for name in ("facts", "events"))
    return next((float(size) for size in sizes if isinstance(size, int | float)), 0.0)


def _number(name: str, number: str, **parameters: Parameter) -> Callable[[All], Found]:
    def find(measurements: All) -> Found:
        found = _one(measurements, name, **parameters)
        return found.median(number) if found is not None else None

    return find


def _beside(
    server: str, in_flight: int, number: str = "per_second", ours: str = LOCKSTREAM
) -> Callable[[All], Found]:
    """Returns our number with so many in flight, as a ratio to this server's."""

    def find(measurements: All) -> Found:
        mine = _one(measurements, CLOSED, server=ours, in_flight=in_flight)
        theirs = _one(measurements, CLOSED, server=server, in_flight=in_flight)
        if mine is None or theirs is None:
            return None
        return median(ratios(mine, theirs, number))

    return find


def _after_before(name: str, number: str, **parameters: Parameter) -> Callable[[All], Found]:
    """Returns a number of this code, as a ratio to that of an earlier commit."""

    def find(measurements: All) -> Found:
        after = _one(measurements, name, code=AFTER, **parameters)
        before = _one(measurements, name, code=BEFORE, **parameters)
        if after is None or before is None:
            return None
        return median(ratios(after, before, number))

    return find


def _fanout_memory(measurements: All) -> Found:
    """Finds the memory with some partners, at last those that are far behind."""
    found = select(measurements, FANOUT, events="delivered")
    some = select(measurements, FANOUT, events="delivered", partners=SOME_PARTNERS) or found
    return some[-1].median("peak_mib") if some else None


def _replay_beside_aiokafka(measurements: All) -> Found:
    ours = _one(measurements, READERS, reader="replay to NDJSON")
    theirs = _one(measurements, READERS, reader="bare aiokafka")
    if ours is None or theirs is None:
        return None
    return median(ratios(ours, theirs, "events_per_second"))


def growth_of_cost(*names: str) -> Callable[[All], Found]:
    """Finds the CPU for one command at the last step, as a ratio to the first. Takes the first of
    these measurements that was made."""

    def find(measurements: All) -> Found:
        for name in names:
            steps = select(measurements, name)
            if len(steps) > 1:
                return steps[-1].median("cpu_ms") / steps[0].median("cpu_ms")
        return None

    return find


TARGETS = (
    Target(
        "commands/s beside an endpoint that only publishes, 256 in flight",
        0.6,
        0.75,
        True,
        "×",
        _beside(PUBLISH_ONLY, 256),
    ),
    Target("the same, 64 in flight", 0.45, 0.6, True, "×", _beside(PUBLISH_ONLY, 64)),
    Target("the same, 16 in flight", 0.3, 0.4, True, "×", _beside(PUBLISH_ONLY, 16)),
    Target(
        "p50 of one client beside that endpoint's",
        6.0,
        4.0,
        False,
        "×",
        _beside(PUBLISH_ONLY, 1, "p50_ms"),
    ),
    Target(
        "our endpoint alone beside that one, 256 in flight",
        0.8,
        0.9,
        True,
        "×",
        _beside(PUBLISH_ONLY, 256, ours=UNVERSIONED),
    ),
    Target(
        "CPU of a command, 16 in flight, after / before",
        0.5,
        0.35,
        False,
        "×",
        _after_before(COMMAND_TURNS, "total_cpu_ms", in_flight=16),
    ),
    Target(
        "the same, the fan-out's share",
        0.5,
        None,
        False,
        "×",
        _after_before(COMMAND_TURNS, "fanout_cpu_ms", in_flight=16),
    ),
    Target(
        "commands/s beside PostgreSQL with a version check, 256 in flight",
        1.5,
        2.0,
        True,
        "×",
        _beside(POSTGRES, 256),
    ),
    Target(
        "commands/s beside PostgreSQL with a version check, 16 in flight",
        1.0,
        2.0,
        True,
        "×",
        _beside(POSTGRES, 16),
    ),
    Target(
        "projector, backlog: events for a second of CPU, after / before",
        1.5,
        2.0,
        True,
        "×",
        _after_before(BACKLOG_TURNS, "events_per_cpu_second", work=BACKLOG),
    ),
    Target(
        "rebuild: events for a second of CPU, after / before",
        1.5,
        2.0,
        True,
        "×",
        _after_before(BACKLOG_TURNS, "events_per_cpu_second", work="rebuild"),
    ),
    Target(
        "verify: events for a second of CPU, after / before",
        1.5,
        2.0,
        True,
        "×",
        _after_before(BACKLOG_TURNS, "events_per_cpu_second", work="verify"),
    ),
    Target("replay beside a bare aiokafka consumer", 0.8, None, True, "×", _replay_beside_aiokafka),
    Target(
        "CPU for a command, most events / fewest",
        FLAT,
        None,
        False,
        "×",
        growth_of_cost(BIG_EVENTS_GROWTH, EVENTS_GROWTH),
    ),
    Target(
        "CPU for a command, most locks / fewest",
        FLAT,
        None,
        False,
        "×",
        growth_of_cost(BIG_LOCKS_GROWTH, LOCKS_GROWTH),
    ),
    Target("fan-out, memory with ten partners far behind", 512, None, False, "MiB", _fanout_memory),
    Target(
        "command → record readable by the partner, p50, at 10 % of capacity",
        10.0,
        None,
        False,
        "ms",
        _number(WHOLE_PATH, "p50_ms", capacity_percent=10),
    ),
)
