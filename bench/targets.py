"""Holds the targets, and judges a run by each. Pure."""

from collections.abc import Callable, Sequence

import msgspec

from bench.distributions import median
from bench.measurement import Measurement, Parameter, select
from bench.names import (
    BIG_EVENTS_GROWTH,
    BIG_LOCKS_GROWTH,
    CLOSED,
    DRAIN,
    EVENTS_GROWTH,
    FANOUT,
    LOCKS_GROWTH,
    LOCKSTREAM,
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
    """Describes a target. ``limit``: the worst value that meets it; ``at_least``: greater is
    better."""

    what: str
    limit: float
    at_least: bool
    unit: str
    find: Callable[[All], Found]


class Judged(msgspec.Struct, frozen=True):
    """What a run says of a target. ``met``: None when it was not measured."""

    target: Target
    measured: Found
    met: bool | None


def judge(measurements: All) -> list[Judged]:
    judged = []
    for target in TARGETS:
        value = target.find(measurements)
        met = None
        if value is not None:
            met = value >= target.limit if target.at_least else value <= target.limit
        judged.append(Judged(target, value, met))
    return judged


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


def _most_in_flight(measurements: All, server: str) -> Measurement | None:
    found = select(measurements, CLOSED, server=server)
    return max(found, key=lambda m: float(m.parameters["in_flight"])) if found else None


def _beside(server: str) -> Callable[[All], Found]:
    """Returns commands a second, as a ratio to this server's answers."""

    def find(measurements: All) -> Found:
        ours = _most_in_flight(measurements, LOCKSTREAM)
        theirs = _most_in_flight(measurements, server)
        if ours is None or theirs is None:
            return None
        return median(ratios(ours, theirs, "per_second"))

    return find


def _fanout(kind: str, number: str) -> Callable[[All], Found]:
    """With some partners, at last those that are far behind. With a hundred, taking their
    partitions outweighs the events."""

    def find(measurements: All) -> Found:
        found = select(measurements, FANOUT, events=kind)
        some = select(measurements, FANOUT, events=kind, partners=SOME_PARTNERS) or found
        return some[-1].median(number) if some else None

    return find


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
        "commands/s, one API process, beside the endpoint that only publishes",
        0.75,
        True,
        "×",
        _beside(PUBLISH_ONLY),
    ),
    Target(
        "the same, beside our own endpoint when it only publishes",
        0.75,
        True,
        "×",
        _beside(UNVERSIONED),
    ),
    Target(
        "one client, p50",
        3.0,
        False,
        "ms",
        _number(CLOSED, "p50_ms", server=LOCKSTREAM, in_flight=1),
    ),
    Target(
        "one client, p99",
        10.0,
        False,
        "ms",
        _number(CLOSED, "p99_ms", server=LOCKSTREAM, in_flight=1),
    ),
    Target(
        "16 clients, p50",
        8.0,
        False,
        "ms",
        _number(CLOSED, "p50_ms", server=LOCKSTREAM, in_flight=16),
    ),
    Target(
        "16 clients, p99",
        25.0,
        False,
        "ms",
        _number(CLOSED, "p99_ms", server=LOCKSTREAM, in_flight=16),
    ),
    Target(
        "command → record readable by the partner, p50, at 10 % of capacity",
        10.0,
        False,
        "ms",
        _number(WHOLE_PATH, "p50_ms", capacity_percent=10),
    ),
    Target(
        "projector, backlog drain, per core",
        20_000,
        True,
        "facts/s",
        _number(DRAIN, "facts_per_cpu_second", read_model="SQLite"),
    ),
    Target(
        "fan-out, events skipped, per core",
        100_000,
        True,
        "events/s",
        _fanout("skipped", "events_per_cpu_second"),
    ),
    Target(
        "fan-out, events delivered, per core",
        20_000,
        True,
        "events/s",
        _fanout("delivered", "events_per_cpu_second"),
    ),
    Target(
        "fan-out, memory with ten partners far behind",
        512,
        False,
        "MiB",
        _fanout("delivered", "peak_mib"),
    ),
    Target("replay beside a bare aiokafka consumer", 0.8, True, "×", _replay_beside_aiokafka),
    Target(
        "rebuild", 30_000, True, "events/s", _number(READERS, "events_per_second", reader="rebuild")
    ),
    Target(
        "CPU for a command, most events / fewest",
        FLAT,
        False,
        "×",
        growth_of_cost(BIG_EVENTS_GROWTH, EVENTS_GROWTH),
    ),
    Target(
        "CPU for a command, most locks / fewest",
        FLAT,
        False,
        "×",
        growth_of_cost(BIG_LOCKS_GROWTH, LOCKS_GROWTH),
    ),
)
