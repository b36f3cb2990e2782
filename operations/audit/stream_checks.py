"""Checks one partition record by record. Pure: takes records, yields violations."""

from collections.abc import Iterator
from uuid import UUID

import msgspec

from eventlog.records import Record
from fanout.decisions import delivers
from fanout.positions import Position, Positions
from operations.audit.event_ids import EventIds, hash_id
from operations.audit.violations import Violation
from schemas.lock_events import (
    Event,
    EventHeaders,
    TempKeyUsedEvent,
    decode_event,
    event_type,
)
from schemas.partner_events import encode_envelope, envelope
from schemas.registry import Partner, Replay
from schemas.replay_events import ReplayEndedDetail, decode_replay_ended, is_replay_end
from schemas.topics import lock_key, partition_of


class ReadEvent(msgspec.Struct, frozen=True, gc=False):
    offset: int
    headers: EventHeaders
    event: Event
    value: bytes


def read_event(record: Record) -> ReadEvent:
    """Reads a record more strictly than ``EventRecord``: whoever follows the stream relies on its
    headers alone, or on its value alone, and only an audit finds that the two do not agree.

    Raises:
        ValueError: not what a projector writes; the text says why.
    """
    headers = EventHeaders.from_kafka(record.headers)
    event = decode_event(record.value or b"")
    in_headers = (headers.event_id, headers.event_type, headers.org_id, headers.version)
    if in_headers != (str(event.event_id), event_type(event), event.org_id, event.version):
        raise ValueError("its headers and its value do not agree")
    if record.key != lock_key(event.lock_id):
        raise ValueError("its key is not its lock's")
    return ReadEvent(record.offset, headers, event, record.value or b"")


class EventChecks:
    """Checks one partition of ``lock-events``: versions, uses, source offsets, where locks live.
    ``lock_uuids`` collects the UUIDs of all partitions, each once for every lock that has it."""

    def __init__(self, topic: str, partition: int, partitions: int, lock_uuids: EventIds) -> None:
        self._topic = topic
        self._partition = partition
        self._partitions = partitions
        self._lock_uuids = lock_uuids
        self._versions: dict[int, int] = {}
        self._uuids: dict[int, UUID] = {}
        self._uses: dict[int, int] = {}
        self._last_source = -1

    def check(self, read: ReadEvent) -> Iterator[Violation]:
        event = read.event
        home = partition_of(event.lock_id, self._partitions)
        if home != self._partition:
            yield self._violation(
                "wrong-partition", read.offset, f"lock {event.lock_id} lives in partition {home}"
            )
        last = self._versions.get(event.lock_id, 0)
        if event.version != last + 1:
            kind = "version-gap" if event.version > last + 1 else "version-repeated"
            yield self._violation(
                kind, read.offset, f"lock {event.lock_id}: version {event.version} after {last}"
            )
        self._versions[event.lock_id] = max(last, event.version)
        yield from self._check_uuid(read)
        if isinstance(event, TempKeyUsedEvent):
            yield from self._check_uses(read.offset, event)
        if read.headers.source_offset <= self._last_source:
            yield self._violation(
                "source-offset-not-increasing",
                read.offset,
                f"source-offset {read.headers.source_offset} after {self._last_source}",
            )
        self._last_source = max(self._last_source, read.headers.source_offset)

    def _check_uuid(self, read: ReadEvent) -> Iterator[Violation]:
        lock_id, lock_uuid = read.event.lock_id, read.event.aggregate_id
        before = self._uuids.get(lock_id)
        if before == lock_uuid:
            return
        self._uuids[lock_id] = lock_uuid
        self._lock_uuids.add(str(lock_uuid))
        if before is not None:
            yield self._violation(
                "lock-uuid-changed", read.offset, f"lock {lock_id} was {before}, and is {lock_uuid}"
            )

    def _check_uses(self, offset: int, event: TempKeyUsedEvent) -> Iterator[Violation]:
        """Checks the counts of uses by a hash of each temp key: the keys would take too much
        memory."""
        data = event.data
        key = hash_id(f"{event.lock_id} {data.temp_key_uuid}")
        last = self._uses.get(key, 0)
        if data.used_count != last + 1:
            yield self._violation(
                "used-count-wrong",
                offset,
                f"lock {event.lock_id}, temp key {data.temp_key_uuid}: "
                f"usedCount {data.used_count} after {last}",
            )
        self._uses[key] = data.used_count

    def unreadable(self, record: Record, why: str) -> Violation:
        return self._violation("unreadable-record", record.offset, why)

    def _violation(self, kind: str, offset: int, detail: str) -> Violation:
        return Violation(kind, self._topic, self._partition, offset, detail)  # type: ignore[arg-type]


class PartnerChecks:
    """Checks one partition of a partner's topic against the stream that it is made from. ``begin``:
    the first ``lock-events`` offset that it should hold; ``sequence``: that of the record
    before; ``positions``: opens those of its records; ``replay``: what it is sent once more."""

    def __init__(
        self,
        topic: str,
        partition: int,
        partner: Partner,
        begin: int,
        sequence: int,
        positions: Positions,
        replay: Replay | None = None,
    ) -> None:
        self.has_ended = False
        self._end = replay.end_offsets[partition] if replay is not None else None
        self._replay = replay
        self._topic = topic
        self._partition = partition
        self._positions = positions
        self._partner = partner
        self._begin = begin
        self._sequence = sequence
        self._last_offset = -1

    def entitled(self, read: ReadEvent) -> bool:
        if read.offset < self._begin or (self._end is not None and read.offset >= self._end):
            return False
        return delivers(read.headers, self._partner, self._partition, read.offset)

    def position(self, record: Record) -> Position | None:
        """Returns a record's position; None if no fan-out of this installation wrote it."""
        try:
            return self._positions.read(self._topic, record)
        except ValueError:
            return None

    def check_record(self, record: Record) -> Iterator[Violation]:
        """Checks what the record shows by itself."""
        self._last_offset = record.offset
        try:
            position = self._positions.read(self._topic, record)
        except ValueError as error:
            yield self._violation("partner-event-foreign", str(error))
            return
        if position.sequence != self._sequence + 1:
            yield self._violation(
                "partner-sequence-gap", f"sequence {position.sequence} after {self._sequence}"
            )
        self._sequence = position.sequence

    def check_pair(self, record: Record, read: ReadEvent) -> Iterator[Violation]:
        """Checks the record against the event that it was made from."""
        expected = encode_envelope(envelope(read.event, self._partner.id))
        if record.value != expected or record.key != lock_key(read.event.lock_id):
            yield self._violation(
                "partner-event-altered", f"it is not what lock-events holds at {read.offset}"
            )

    def missing(self, read: ReadEvent) -> Violation:
        return self._violation(
            "partner-event-missing",
            f"lock-events offset {read.offset} (event {read.headers.event_id}) was passed over",
        )

    def check_rest(self, record: Record, position: Position) -> Iterator[Violation]:
        """Checks a record behind the last event that it should hold: the end of a replay, once, or
        none."""
        if self._replay is None or self.has_ended or not is_replay_end(record.headers):
            yield self.foreign(position.source_offset)
            return
        self.has_ended = True
        count, replay = position.sequence - 1, self._replay
        try:
            found = decode_replay_ended(record.value or b"").detail
        except ValueError:
            found = None
        expected = ReplayEndedDetail(replay.partner_id, replay.number, self._partition, count)
        if (found, position.source_offset) != (expected, self._end):
            yield self._violation("partner-event-altered", "it is not the end of this replay")

    def without_end(self) -> Violation:
        return self._violation("partner-event-missing", "it has ended and has no end marker")

    def foreign(self, source_offset: int) -> Violation:
        return self._violation(
            "partner-event-foreign",
            f"lock-events offset {source_offset} is no event that this partner is entitled to",
        )

    def _violation(self, kind: str, detail: str) -> Violation:
        return Violation(kind, self._topic, self._partition, self._last_offset, detail)  # type: ignore[arg-type]
