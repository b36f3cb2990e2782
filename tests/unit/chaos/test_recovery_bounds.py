"""A recovery is held to its bound, beyond what the same takes with nothing broken."""

import pytest

from chaos.scene import Measured
from chaos.system import Recovery

FAST = Recovery(0.2, 0.5)
BUSY = Recovery(4.0, 6.0)


@pytest.mark.parametrize(
    ("recovery", "usual", "patience", "in_time"),
    [
        (Recovery(3.1, 8.4), FAST, 1.0, True),
        (Recovery(3.3, 4.0), FAST, 1.0, False),
        (Recovery(2.0, 8.6), FAST, 1.0, False),
        (Recovery(3.3, 4.0), FAST, 2.0, True),
        # On a machine that is that busy without any fault, the fault has cost 2 s.
        (Recovery(6.0, 9.0), BUSY, 1.0, True),
        (Recovery(7.1, 9.0), BUSY, 1.0, False),
        # What never recovers, never does, however busy.
        (Recovery(None, None), BUSY, 5.0, False),
        (Recovery(3.0, None), BUSY, 5.0, False),
    ],
)
def test_a_fault_is_blamed_for_what_it_adds(
    recovery: Recovery, usual: Recovery, patience: float, in_time: bool
) -> None:
    assert Measured("killed", 3.0, recovery, usual).in_time(patience) is in_time
