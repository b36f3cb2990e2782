import pytest

from schemas.lanes import Lanes, lane_id


@pytest.mark.parametrize(("partitions", "count"), [(12, 1), (12, 2), (12, 5), (3, 3), (2, 4)])
def test_each_partition_is_in_one_lane(partitions: int, count: int) -> None:
    lanes = Lanes(partitions, count)
    shared = [p for lane in lanes.numbers for p in lanes.partitions_of(lane)]
    assert sorted(shared) == list(range(partitions))
    for lane in lanes.numbers:
        assert {lanes.lane_of(p) for p in lanes.partitions_of(lane)} <= {lane}


def test_lanes_have_their_names_for_ever() -> None:
    assert lane_id("t-projector", 1) == "t-projector.lane.1"
    assert [list(Lanes(5, 2).partitions_of(lane)) for lane in (0, 1)] == [[0, 2, 4], [1, 3]]
