"""Measures ten million events and a million locks: memory of each stage, cost of a command. One
stream serves all, since making it takes longest. Needs 30 GB."""

from bench.names import BIG_EVENTS_GROWTH, BIG_LOCKS_GROWTH
from bench.parts.growth import Grown, compare_sizes, restarted, with_events, with_locks
from bench.parts.stages import drain, read
from bench.workbench import Workbench

FACTS = 10_000_000
EVENTS = (1_000, FACTS)
LOCKS = (100, 1_000_000)


def measure_big(bench: Workbench) -> None:
    stream = bench.roles()
    read(bench, stream, drain(bench, stream, "SQLite", FACTS), rounds=1)

    def made(bench: Workbench, size: int) -> Grown:
        return restarted(bench, stream) if size == FACTS else with_events(bench, size)

    compare_sizes(bench, BIG_EVENTS_GROWTH, EVENTS, made)
    compare_sizes(bench, BIG_LOCKS_GROWTH, LOCKS, with_locks)
