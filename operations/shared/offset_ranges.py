"""Says which offsets of a topic are read."""

from collections.abc import Mapping

import msgspec


class OffsetRanges(msgspec.Struct, frozen=True):
    """Says for each partition of a topic from which offset up to which end to read."""

    begin: Mapping[int, int]
    end: Mapping[int, int]

    @property
    def size(self) -> int:
        """Counts the offsets to go over; markers and aborted records are among them."""
        return sum(max(0, self.end[p] - self.begin[p]) for p in self.begin)
