import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from eventlog.clients.lane_assignor import LaneAssignor, shared_out
from schemas.lanes import Lanes

MEMBERS = ("c", "a", "b")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_members_get_whole_lanes_and_together_all_of_them(count: int) -> None:
    lanes = Lanes(12, count)
    owned = shared_out("group", lanes, MEMBERS)
    assert sorted(p for partitions in owned.values() for p in partitions) == list(range(12))
    for partitions in owned.values():
        having = {lanes.lane_of(p) for p in partitions}
        assert sorted(partitions) == sorted(p for n in having for p in lanes.partitions_of(n))
    sizes = [len({lanes.lane_of(p) for p in partitions}) for partitions in owned.values()]
    assert max(sizes) - min(sizes) <= 1


def test_every_member_shares_the_lanes_out_alike() -> None:
    lanes = Lanes(12, 4)
    assert shared_out("group", lanes, MEMBERS) == shared_out("group", lanes, reversed(MEMBERS))


def test_many_groups_of_one_lane_load_all_members() -> None:
    lanes = Lanes(12, 1)
    owners = {
        member
        for group in range(30)
        for member, partitions in shared_out(f"fanout.p{group}", lanes, MEMBERS).items()
        if partitions
    }
    assert owners == set(MEMBERS)


def test_members_that_count_other_lanes_speak_another_protocol() -> None:
    assert LaneAssignor("group", Lanes(12, 2)).name != LaneAssignor("group", Lanes(12, 3)).name


def test_a_member_without_a_lane_is_told_so() -> None:
    assignor = LaneAssignor("group", Lanes(4, 1))
    members = dict.fromkeys(("a", "b"), ConsumerProtocolMemberMetadata(0, ["input"], b""))
    assigned = assignor.assign(ClusterMetadata(), members)
    partitions = {name: [tp.partition for tp in of.partitions()] for name, of in assigned.items()}
    assert sorted(partitions.values()) == [[], [0, 1, 2, 3]]
