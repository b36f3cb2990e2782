"""Shares the partitions of a stage out to lanes, once and for all.

A lane is a set of partitions that are owned, fenced and committed together. How many lanes there
are is fixed for an installation, and bounds how many replicas of a stage can work.
"""

import msgspec


class Lanes(msgspec.Struct, frozen=True):
    """Says which partitions form a lane. ``count`` is at least 1."""

    partitions: int
    count: int

    @property
    def numbers(self) -> range:
        return range(self.count)

    def lane_of(self, partition: int) -> int:
        return partition % self.count

    def partitions_of(self, lane: int) -> range:
        return range(lane, self.partitions, self.count)


def lane_id(stage: str, lane: int) -> str:
    """Returns the ``transactional.id`` of a lane. ``stage``: the name of its consumer group."""
    return f"{stage}.lane.{lane}"
