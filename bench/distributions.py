"""Draws the locks and moments that a load is made of; percentiles and medians. Pure."""

import bisect
import itertools
import random
from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """Returns the least value that ``share`` of all are no greater than (nearest rank); 0.0 of
    none."""
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * share // 1)
    return ordered[max(0, min(len(ordered), int(rank)) - 1)]


def median(values: Sequence[float]) -> float:
    """Returns the median.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("the median of nothing")
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def latency_numbers(seconds: Sequence[float]) -> dict[str, float]:
    """Returns ``p50_ms``, ``p99_ms``, ``p99.9_ms`` and ``max_ms`` of latencies in seconds."""
    ordered = sorted(seconds)
    return {
        "p50_ms": percentile(ordered, 0.50) * 1000,
        "p99_ms": percentile(ordered, 0.99) * 1000,
        "p99.9_ms": percentile(ordered, 0.999) * 1000,
        "max_ms": (ordered[-1] if ordered else 0.0) * 1000,
    }


def zipf_choices(count: int, among: int, seed: int, exponent: float = 1.0) -> list[int]:
    """Draws ``count`` indexes below ``among``: the k-th with a weight of 1/k^exponent."""
    weights = itertools.accumulate(1.0 / (k**exponent) for k in range(1, among + 1))
    cumulated = list(weights)
    chance = random.Random(seed)
    return [
        min(among - 1, bisect.bisect(cumulated, chance.random() * cumulated[-1]))
        for _ in range(count)
    ]


def uniform_choices(count: int, among: int, seed: int) -> list[int]:
    """Draws ``count`` indexes below ``among``, all equally likely."""
    chance = random.Random(seed)
    return [chance.randrange(among) for _ in range(count)]


def arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Draws the moments of a Poisson process: seconds from 0 on, ``rate`` a second on average."""
    chance = random.Random(seed)
    moments: list[float] = []
    moment = chance.expovariate(rate)
    while moment < seconds:
        moments.append(moment)
        moment += chance.expovariate(rate)
    return moments
