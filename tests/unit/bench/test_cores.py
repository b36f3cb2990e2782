import pytest

from bench.parts.cores import doubling


@pytest.mark.parametrize(
    ("cores", "steps"), [(1, [1]), (2, [1, 2]), (3, [1, 2]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8])]
)
def test_cores_are_doubled_as_long_as_there_are_enough(cores: int, steps: list[int]) -> None:
    assert doubling(cores) == steps
