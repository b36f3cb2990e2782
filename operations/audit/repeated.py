"""Finds what may occur in the stream only once, by comparing the suspects themselves."""

from collections.abc import Collection, Iterator

from eventlog.records import Record
from operations.audit.event_ids import hash_id
from operations.audit.stream_checks import ReadEvent, read_event
from operations.audit.violations import Violation
from schemas.records import Place


class Repeated:
    """Takes the whole stream a second time, and keeps only suspects. ``ids`` and ``lock_uuids``:
    hashes of what is to be compared."""

    def __init__(self, topic: str, ids: Collection[int], lock_uuids: Collection[int]) -> None:
        self._topic = topic
        self._ids = ids
        self._lock_uuids = lock_uuids
        self._places: dict[str, str] = {}
        self._locks: dict[str, dict[int, str]] = {}

    def look_at(self, record: Record) -> Iterator[Violation]:
        try:
            read = read_event(record)
        except ValueError:
            return
        place = str(Place.of(self._topic, record))
        yield from self._look_at_id(record, read.headers.event_id, place)
        yield from self._look_at_lock(record, read, place)

    def _look_at_id(self, record: Record, event_id: str, place: str) -> Iterator[Violation]:
        if hash_id(event_id) not in self._ids:
            return
        if event_id in self._places:
            detail = f"event {event_id} stands at {self._places[event_id]} already"
            yield self._violation("duplicate-event-id", record, detail)
        self._places.setdefault(event_id, place)

    def _look_at_lock(self, record: Record, read: ReadEvent, place: str) -> Iterator[Violation]:
        lock_id, lock_uuid = read.event.lock_id, str(read.event.aggregate_id)
        if hash_id(lock_uuid) not in self._lock_uuids:
            return
        locks = self._locks.setdefault(lock_uuid, {})
        if lock_id not in locks and locks:
            first, at = next(iter(locks.items()))
            detail = f"lock {lock_id} is {lock_uuid}, and so is lock {first} at {at}"
            yield self._violation("lock-uuid-shared", record, detail)
        locks.setdefault(lock_id, place)

    def _violation(self, kind: str, record: Record, detail: str) -> Violation:
        return Violation(kind, self._topic, record.partition, record.offset, detail)  # type: ignore[arg-type]
