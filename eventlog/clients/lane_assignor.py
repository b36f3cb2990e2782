"""A lane assignor gives the members of a consumer group whole lanes."""

from collections.abc import Iterable, Mapping, Sequence
from zlib import crc32

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

from schemas.lanes import Lanes

VERSION = 0


def shared_out(group: str, lanes: Lanes, members: Iterable[str]) -> dict[str, list[int]]:
    """Returns the partitions of each member: whole lanes, dealt out in turn. Where the turns begin
    depends on the group, so that many groups of few lanes load all members alike."""
    in_order = sorted(members)
    first = crc32(group.encode())
    owned: dict[str, list[int]] = {member: [] for member in in_order}
    for lane in lanes.numbers:
        owned[in_order[(first + lane) % len(in_order)]] += lanes.partitions_of(lane)
    return owned


class LaneAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """Assigns the lanes of one stage. Members that count another number of lanes speak another
    protocol, and Kafka keeps them out of the group."""

    def __init__(self, group: str, lanes: Lanes) -> None:
        self._group = group
        self._lanes = lanes

    @property
    def name(self) -> str:
        return f"lockstream-lanes-{self._lanes.count}"

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        (topic,) = {topic for member in members.values() for topic in member.subscription}
        return {
            member: ConsumerProtocolMemberAssignment(
                VERSION, [(topic, sorted(partitions))] if partitions else [], b""
            )
            for member, partitions in shared_out(self._group, self._lanes, members).items()
        }

    def metadata(self, topics: Sequence[str]) -> ConsumerProtocolMemberMetadata:
        return ConsumerProtocolMemberMetadata(VERSION, list(topics), b"")

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Does nothing: the next assignment does not depend on this one."""
