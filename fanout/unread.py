"""Counts what readers of partners' topics have not read yet: records, by their ``sequence``.

Offsets would not do: the markers of transactions take some too. Only the first unread record and
the last one are looked up, and remembered as long as nobody has moved on.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from eventlog.records import Record, TopicPartition
from eventlog.single_records import SingleRecords
from schemas.undecodable import NamedHeaders, Undecodable

Ranges = Mapping[TopicPartition, tuple[int, int]]
"""Where each partition begins, by what retention has left, and where it ends."""


class Mark(msgspec.Struct, frozen=True, gc=False):
    """Keeps of a record where it stands. ``delivered_ms``: its timestamp."""

    offset: int
    sequence: int
    delivered_ms: int

    @classmethod
    def of(cls, record: Record) -> "Mark":
        """Makes the mark of a record. One that no fan-out wrote has no sequence: its offset takes
        its place, so that the count is too large rather than too small."""
        try:
            sequence = NamedHeaders(record.headers).number("sequence")
        except Undecodable:
            sequence = record.offset + 1
        return cls(record.offset, sequence, record.timestamp_ms)


class Unread(msgspec.Struct, frozen=True):
    """Says what somebody has not read. ``oldest_ms``: when the oldest was delivered. ``taken``:
    retention has deleted what stood behind what it had read last."""

    records: int = 0
    oldest_ms: int | None = None
    taken: bool = False


_Position = tuple[TopicPartition, int]


class Marks:
    """Looks up the marks that are needed, and remembers those that were needed since ``begin``, and
    between it and the one before."""

    def __init__(self) -> None:
        self._firsts: dict[_Position, Mark] = {}
        self._none: dict[_Position, int] = {}
        self._lasts: dict[TopicPartition, tuple[int, Mark | None]] = {}
        self._before = self._firsts, self._none, self._lasts

    def begin(self) -> None:
        """Forgets what nobody has needed since this was called last."""
        self._before = self._firsts, self._none, self._lasts
        self._firsts, self._none, self._lasts = {}, {}, {}

    def first(self, tp: TopicPartition, position: int) -> Mark | None:
        """Returns the first record from the position on, of what ``look_up`` was asked for."""
        return self._firsts.get((tp, position))

    def last(self, tp: TopicPartition) -> Mark | None:
        """Returns the last record, likewise."""
        return self._lasts[tp][1] if tp in self._lasts else None

    async def look_up(
        self,
        records: SingleRecords,
        ranges: Ranges,
        positions: Mapping[TopicPartition, Collection[int]],
        lasts: Iterable[TopicPartition],
    ) -> None:
        """Finds the first record from each position on. Where there is one, and where ``lasts``
        says so, finds the last record of the partition too.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        await self._find_firsts(records, ranges, positions)
        found_in = (tp for tp, of in positions.items() if any((tp, p) in self._firsts for p in of))
        needed = {*lasts, *found_in}
        _, _, old = self._before
        wanted: dict[TopicPartition, tuple[int, int]] = {}
        for tp in needed:
            begin, end = ranges[tp]
            if tp in old and old[tp][0] == end:
                self._lasts[tp] = old[tp]
            else:
                wanted[tp] = begin, end
        found = await records.lasts(wanted)
        for tp, (_, end) in wanted.items():
            self._lasts[tp] = end, Mark.of(found[tp]) if tp in found else None

    async def _find_firsts(
        self,
        records: SingleRecords,
        ranges: Ranges,
        positions: Mapping[TopicPartition, Collection[int]],
    ) -> None:
        """Asks for the least position of each partition first: the next record of one is that of
        all positions up to it."""
        firsts, none, _ = self._before
        left: dict[TopicPartition, list[int]] = {}
        for tp, wanted in positions.items():
            begin, end = ranges[tp]
            for position in sorted(wanted):
                key = tp, position
                mark = firsts.get(key)
                if mark is not None and mark.offset >= begin:
                    self._firsts[key] = mark
                elif none.get(key) == end or max(position, begin) >= end:
                    self._none[key] = end
                else:
                    left.setdefault(tp, []).append(position)
        while left:
            asked = {tp: (max(of[0], ranges[tp][0]), ranges[tp][1]) for tp, of in left.items()}
            found = await records.firsts(asked)
            behind = {tp: self._note(tp, of, found, ranges) for tp, of in left.items()}
            left = {tp: of for tp, of in behind.items() if of}

    def _note(
        self,
        tp: TopicPartition,
        positions: list[int],
        found: Mapping[TopicPartition, Record],
        ranges: Ranges,
    ) -> list[int]:
        """Notes what was found from the first of these positions on; returns those behind it."""
        if tp not in found:
            self._none |= {(tp, position): ranges[tp][1] for position in positions}
            return []
        mark = Mark.of(found[tp])
        self._firsts |= {(tp, position): mark for position in positions if position <= mark.offset}
        return [position for position in positions if position > mark.offset]


def unread(marks: Marks, ranges: Ranges, positions: Mapping[TopicPartition, int]) -> Unread:
    """Returns what somebody has not read who is at these positions. ``taken`` leaves a single
    offset out: it may be the marker behind the last record that was read."""
    records, oldest_ms, taken = 0, None, False
    for tp, position in positions.items():
        taken = taken or ranges[tp][0] > position + 1
        first, last = marks.first(tp, position), marks.last(tp)
        if first is None or last is None:
            continue
        records += max(1, last.sequence - first.sequence + 1)
        if oldest_ms is None or first.delivered_ms < oldest_ms:
            oldest_ms = first.delivered_ms
    return Unread(records, oldest_ms, taken)


def furthest_behind(all_of_them: Collection[Unread]) -> Unread:
    """Returns the worst of several readers in each respect."""
    oldest = [one.oldest_ms for one in all_of_them if one.oldest_ms is not None]
    return Unread(
        max((one.records for one in all_of_them), default=0),
        min(oldest, default=None),
        any(one.taken for one in all_of_them),
    )
