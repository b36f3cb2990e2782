"""How long partitions rest between transactions."""

import pytest

from lockstream.eventlog.rest import LONGEST_S, MARKERS_S, Rest


@pytest.mark.parametrize(
    ("records", "took_s", "expected"),
    [
        (1, 0.010, 0.020),
        (3, 0.010, 0.020),
        (4, 0.010, MARKERS_S),
        (1, 0.0, MARKERS_S),
        (1, 5.0, LONGEST_S),
    ],
)
def test_a_partition_rests_in_proportion_after_a_small_transaction_and_never_long(
    records: int, took_s: float, expected: float
) -> None:
    assert Rest(times=2.0, few=3).after(records, took_s) == pytest.approx(expected)
