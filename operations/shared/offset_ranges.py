"""What a verb reads of a topic."""

import msgspec


class OffsetRanges(msgspec.Struct, frozen=True):
    """Says where reading begins and ends in each partition of a topic."""

    begin: dict[int, int]
    end: dict[int, int]

    @property
    def size(self) -> int:
        """Counts the offsets to go over; markers and aborted records are among them."""
        return sum(max(0, self.end[p] - self.begin[p]) for p in self.begin)
