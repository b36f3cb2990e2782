"""Collects what is decided until the lane's writer is free, and bounds it."""

from collections.abc import Sequence

from eventlog.records import Record
from eventlog.stage.budget import Share
from eventlog.stage.lane_partition import Decided, LanePartition

MOST_RECORDS = 1_000
MOST_BYTES = 8 * 1024 * 1024
LEAST_BYTES = 512 * 1024
"""However many others are at work, this much may be in work."""
IN_WORK_TIMES = 4
"""A record in work, as a multiple of itself: the record, what is decoded from it, what follows from
it, and the batch that goes to the broker."""
RECORD_BYTES = 300
HEADER_BYTES = 160
"""What a record and one of its headers take as Python objects, beside key and value."""


def memory_of(records: Sequence[Record]) -> int:
    """Returns what the records take while they are in work, in bytes."""
    size = 0
    for record in records:
        size += RECORD_BYTES + HEADER_BYTES * len(record.headers)
        size += len(record.key or b"") + len(record.value or b"")
    return size * IN_WORK_TIMES


class Pending:
    """Holds what is decided and not being written yet. ``memory``: the lane's share of what the
    process may hold. What is being decided on and what is being written is held there too, from
    ``hold`` to ``release``."""

    def __init__(self, memory: Share) -> None:
        self._memory = memory
        self._decided: list[Decided] = []
        self._records = 0
        self._bytes = 0
        self._record_bytes = LEAST_BYTES // 100

    def __bool__(self) -> bool:
        return bool(self._decided)

    def room(self) -> int:
        """Returns how many more records may be decided on now, by what those before have taken. If
        memory is lacking, the lane is woken when there is some."""
        most = min(MOST_BYTES, max(LEAST_BYTES, self._memory.portion))
        if self._bytes >= most or not self._memory.ask():
            return 0
        fitting = max(1, (most - self._bytes) // self._record_bytes)
        return max(0, min(MOST_RECORDS - self._records, fitting))

    def hold(self, records: Sequence[Record]) -> int:
        """Counts what these records take, from now on; returns how much."""
        size = memory_of(records)
        self._record_bytes = size // len(records)
        self._memory.take(size)
        return size

    def release(self, size: int) -> None:
        """Counts so much no more."""
        self._memory.give_back(size)

    def add(self, decided: Decided) -> None:
        """Takes in what is decided, whose memory is held already."""
        self._decided.append(decided)
        self._records += decided.records
        self._bytes += decided.bytes

    def take_all(self) -> list[Decided]:
        taken, self._decided = self._decided, []
        self._records = self._bytes = 0
        return taken

    def drop(self, partition: LanePartition) -> None:
        """Forgets what is decided for a partition that begins anew."""
        dropped = [decided for decided in self._decided if decided.partition is partition]
        self._decided = [d for d in self._decided if d.partition is not partition]
        self._records -= sum(decided.records for decided in dropped)
        size = sum(decided.bytes for decided in dropped)
        self._bytes -= size
        self.release(size)
