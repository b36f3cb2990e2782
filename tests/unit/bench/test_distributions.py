import itertools
from collections import Counter

import pytest

from bench.distributions import (
    arrivals,
    latency_numbers,
    median,
    percentile,
    uniform_choices,
    zipf_choices,
)


def test_a_percentile_is_the_least_value_that_the_share_is_no_greater_than() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.50) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 0.999) == 100
    assert percentile([7.0], 0.5) == 7
    assert percentile([], 0.5) == 0


def test_the_median_of_an_even_number_lies_in_the_middle_of_two() -> None:
    assert median([3.0, 1.0, 2.0]) == 2
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
    with pytest.raises(ValueError, match="nothing"):
        median([])


def test_latencies_are_told_in_milliseconds_in_whatever_order_they_came() -> None:
    found = latency_numbers([0.004, 0.001, 0.002])
    assert found == pytest.approx({"p50_ms": 2, "p99_ms": 4, "p99.9_ms": 4, "max_ms": 4})


def test_zipf_prefers_the_first_and_reaches_the_last() -> None:
    counts = Counter(zipf_choices(200_000, 100, seed=1))
    assert set(counts) == set(range(100))
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.2)


def test_uniform_choices_prefer_none() -> None:
    counts = Counter(uniform_choices(200_000, 100, seed=1))
    assert max(counts.values()) / min(counts.values()) < 1.3


def test_arrivals_come_at_the_rate_asked_for_and_are_not_evenly_spaced() -> None:
    moments = arrivals(1000.0, 10.0, seed=1)
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    assert moments == sorted(moments)
    assert moments[0] > 0
    assert moments[-1] < 10.0
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    # A Poisson process: the gaps' deviation is as great as their mean.
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance**0.5 == pytest.approx(mean, rel=0.1)
