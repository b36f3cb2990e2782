"""Counts how many events each of many partners is entitled to, in one reading of the stream.

What a partner is entitled to, less the last sequence in its topic, is what is still to be delivered
to it. The count begins where a sequence is known (a checkpoint of the fan-out's, a pause, or the
registration), and later goes on where it ended, so no event is counted twice.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from eventlog.checkpoints import Checkpoint
from eventlog.log_reader import FEW_AT_ONCE, LogReader
from eventlog.records import Record
from fanout.decisions import delivers
from fanout.partition import noted_sequence
from schemas.lock_events import EventHeaders
from schemas.registry import Partner
from schemas.topics import LockTopics
from schemas.undecodable import Undecodable

Advance = Callable[[int], None]


def _ignore(count: int) -> None:
    pass


class Counted(msgspec.Struct, frozen=True):
    """Says that of all events before ``offset`` the partner is entitled to ``entitled``."""

    offset: int
    entitled: int


def known_counts(
    partner: Partner, partitions: int, checkpoints: Mapping[int, Checkpoint]
) -> dict[int, Counted]:
    """Returns what is known without reading, by partition: the furthest of what the registration,
    its last pause and the fan-out's checkpoints say."""
    found: dict[int, Counted] = {}
    for number, begin in partner.begins(partitions).items():
        known = [Counted(begin, 0)]
        if number < len(partner.paused_at):
            paused = partner.paused_at[number]
            known.append(Counted(paused.next_offset, paused.sequence))
        checkpoint = checkpoints.get(number)
        if checkpoint is not None:
            sequence = noted_sequence(checkpoint.note, partner)
            if sequence is not None:
                known.append(Counted(checkpoint.next_offset, sequence))
        found[number] = max(known, key=lambda one: one.offset)
    return found


Stretch = tuple[dict[int, int], dict[int, int]]
"""From which offset to which end each partition of the stream is read."""


class EntitledCounter:
    """Keeps the counts of each partner, by partition of the stream."""

    def __init__(self, topics: LockTopics) -> None:
        self._topics = topics
        self._partners: dict[str, Partner] = {}
        self._by_organization: dict[str, list[Partner]] = {}
        self._counts: dict[str, dict[int, Counted]] = {}
        self._delivered: dict[str, dict[int, int]] = {}

    def begin(self, partners: Sequence[Partner]) -> None:
        """Counts for these partners from now on, and for no other. One whose entry has changed is
        counted anew."""
        kept = {p.id for p in partners if self._partners.get(p.id) == p}
        self._counts = {p.id: self._counts[p.id] if p.id in kept else {} for p in partners}
        self._delivered = {p.id: self._delivered[p.id] if p.id in kept else {} for p in partners}
        self._partners = {p.id: p for p in partners}
        self._by_organization = {}
        for partner in partners:
            self._by_organization.setdefault(partner.org_id, []).append(partner)

    def waiting_in(self, partner_id: str) -> list[int]:
        """Returns the partitions that may hold undelivered events, by what was delivered so far."""
        delivered = self._delivered[partner_id]
        counts = self._counts[partner_id]
        return [p for p, one in counts.items() if one.entitled > delivered.get(p, 0)]

    def undelivered(
        self, partner_id: str, ends: Mapping[int, int], sequences: Mapping[int, int]
    ) -> int | None:
        """Returns how many events before these ends are still to be delivered; None if it is not
        counted so far. ``sequences``: the last in each partition of the partner's topic, as far as
        it was looked up. Retention may have taken it: what was delivered once stays so."""
        self._note_delivered(partner_id, sequences)
        counts, delivered = self._counts[partner_id], self._delivered[partner_id]
        if any(p not in counts or counts[p].offset < end for p, end in ends.items()):
            return None
        return sum(max(0, one.entitled - delivered.get(p, 0)) for p, one in counts.items())

    def _note_delivered(self, partner_id: str, sequences: Mapping[int, int]) -> None:
        delivered = self._delivered[partner_id]
        for number, sequence in sequences.items():
            delivered[number] = max(sequence, delivered.get(number, 0))

    def far_behind(self, ends: Mapping[int, int], most: int) -> list[Partner]:
        """Returns the partners of which nothing is known yet, or of which more than ``most``
        records of a partition are to be read."""
        return [
            partner
            for partner in self._partners.values()
            for counts in (self._counts[partner.id],)
            if any(p not in counts or end - counts[p].offset > most for p, end in ends.items())
        ]

    def know(self, partner_id: str, known: Mapping[int, Counted]) -> None:
        """Takes in what is known without reading, where it is further than what was counted."""
        counts = self._counts[partner_id]
        self._note_delivered(partner_id, {p: one.entitled for p, one in known.items()})
        for number, one in known.items():
            if number not in counts or counts[number].offset < one.offset:
                counts[number] = one

    def stretches(self, ends: Mapping[int, int], most: int | None = None) -> list[Stretch]:
        """Returns what is to be read: from the first offset on where a partner's count stands.
        ``most`` bounds the records of each partition; then those come first who are near its end,
        and the others get further each time."""
        near: Stretch = {}, {}
        far: Stretch = {}, {}
        for number, end in ends.items():
            counted = [of[number].offset for of in self._counts.values() if number in of]
            offsets = sorted(offset for offset in counted if offset < end)
            close = [offset for offset in offsets if most is None or end - offset <= most]
            if close:
                near[0][number], near[1][number] = close[0], end
            if most is not None and len(close) < len(offsets):
                room = max(most - (end - close[0] if close else 0), most // 4)
                far[0][number], far[1][number] = offsets[0], offsets[0] + room
        return [stretch for stretch in (near, far) if stretch[0]]

    async def count(self, reader: LogReader, stretch: Stretch, advance: Advance = _ignore) -> None:
        """Reads the stretch once for all partners, and counts.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        begin, end = stretch
        reached = dict(begin)
        gained: dict[tuple[str, int], int] = {}
        async for records in reader.read(self._topics.lock_events, begin, end, FEW_AT_ONCE):
            self._gain(records, gained)
            number, behind = records[-1].partition, records[-1].offset + 1
            advance(behind - reached[number])
            reached[number] = behind
        advance(sum(end[number] - at for number, at in reached.items()))
        # Only now: after an error all of it is read again.
        for partner_id, counts in self._counts.items():
            for number, first in begin.items():
                if number in counts and first <= counts[number].offset < end[number]:
                    more = gained.get((partner_id, number), 0)
                    counts[number] = Counted(end[number], counts[number].entitled + more)

    def _gain(self, records: Sequence[Record], gained: dict[tuple[str, int], int]) -> None:
        number = records[0].partition
        for record in records:
            try:
                headers = EventHeaders.from_kafka(record.headers)
            except Undecodable:
                continue  # nobody gets it: the fan-out stops before it, and says so
            for partner in self._by_organization.get(headers.org_id, ()):
                counted = self._counts[partner.id].get(number)
                if counted is None or record.offset < counted.offset:
                    continue
                if delivers(headers, partner, number, record.offset):
                    key = partner.id, number
                    gained[key] = gained.get(key, 0) + 1
