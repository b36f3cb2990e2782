"""Says how much is measured: in a few minutes or in an hour."""

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """Says how much one run measures. ``seconds``: of one run under load, and
    ``longest_warm_up_seconds`` of those before, see ``Workbench.warm_up``; ``rounds``: how often
    alternatives take their turns; ``rates``: of the open loops, a second; ``backlog``: facts that
    wait for the projector, and events that readers read; ``far_behind``: events behind each of ten
    partners at once; ``events``, ``locks``, ``partners``, ``partitions``, ``replicas``: the steps
    that the system grows through."""

    seconds: float
    rounds: int
    longest_warm_up_seconds: float
    in_flight: tuple[int, ...]
    rates: tuple[int, ...]
    backlog: int
    reader_rounds: int
    fanout_events: int
    far_behind: int
    partners: tuple[int, ...]
    events: tuple[int, ...]
    locks: tuple[int, ...]
    partitions: tuple[int, ...]
    replicas: tuple[int, ...]
    growth_rate: int
    growth_seconds: float
    traced: int
    profile_seconds: int


FULL = Sizes(
    seconds=4.0,
    rounds=3,
    longest_warm_up_seconds=180.0,
    in_flight=(1, 16, 64, 256),
    rates=(100, 500, 1000, 2000),
    backlog=1_000_000,
    reader_rounds=2,
    fanout_events=200_000,
    far_behind=100_000,
    partners=(1, 10, 100),
    events=(1_000, 10_000, 100_000, 1_000_000),
    locks=(100, 1_000, 10_000, 100_000),
    partitions=(1, 3, 12, 48),
    replicas=(1, 2),
    growth_rate=300,
    growth_seconds=8.0,
    traced=1_000,
    profile_seconds=20,
)

QUICK = Sizes(
    seconds=1.0,
    rounds=1,
    longest_warm_up_seconds=1.0,
    in_flight=(16,),
    rates=(200,),
    backlog=20_000,
    reader_rounds=1,
    fanout_events=5_000,
    far_behind=2_000,
    partners=(4,),
    events=(1_000, 10_000),
    locks=(1_000,),
    partitions=(3,),
    replicas=(2,),
    growth_rate=100,
    growth_seconds=1.0,
    traced=50,
    profile_seconds=1,
)
