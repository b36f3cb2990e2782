"""Says how much is measured: in a few minutes or in half an hour."""

import msgspec


class Sizes(msgspec.Struct, frozen=True):
    """Says how much one run measures. ``seconds``: of one run under load, and
    ``longest_warm_up_seconds`` of those before, see ``Workbench.warm_up``; ``rounds``: how often
    alternatives take their turns; ``few_and_many``: in flight, where two steps say enough;
    ``rates``: of the open loops, a second; ``backlog``: facts that wait for the projector, and
    events that readers read; ``far_behind``: events behind each of ten partners at once;
    ``events``, ``locks``, ``growth_partners``, ``replicas``: the steps that the system grows
    through; ``turns…``: of this code and an earlier one."""

    seconds: float
    rounds: int
    longest_warm_up_seconds: float
    in_flight: tuple[int, ...]
    few_and_many: tuple[int, ...]
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
    growth_partners: tuple[int, ...]
    turns: int
    turns_in_flight: tuple[int, ...]
    turns_backlog: int
    traced: int
    profile_seconds: int


FULL = Sizes(
    seconds=3.0,
    rounds=3,
    longest_warm_up_seconds=120.0,
    in_flight=(1, 4, 16, 64, 256),
    few_and_many=(16, 256),
    rates=(100, 1000),
    backlog=300_000,
    reader_rounds=2,
    fanout_events=200_000,
    far_behind=100_000,
    partners=(1, 10, 100),
    events=(1_000, 30_000, 300_000),
    locks=(100, 3_000, 100_000),
    partitions=(1, 3, 12, 48),
    replicas=(1, 2),
    growth_rate=300,
    growth_seconds=6.0,
    growth_partners=(1, 10),
    turns=5,
    turns_in_flight=(16,),
    turns_backlog=150_000,
    traced=1_000,
    profile_seconds=15,
)

QUICK = Sizes(
    seconds=1.0,
    rounds=1,
    longest_warm_up_seconds=1.0,
    in_flight=(1, 16),
    few_and_many=(16,),
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
    growth_partners=(4,),
    turns=1,
    turns_in_flight=(16,),
    turns_backlog=5_000,
    traced=50,
    profile_seconds=1,
)
