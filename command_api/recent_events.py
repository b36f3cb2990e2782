"""Keeps the end of ``lock-events`` in memory, where commands find their answers.

Together with the read model this memory covers the whole stream: the tail begins where the read
model ends, and what is forgotten here is found there. Where that does not hold (the model is
behind, or was emptied), a look-up says so instead of saying that something does not exist.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from uuid import UUID

import msgspec

from eventlog.records import Record
from runtime.errors import KafkaUnavailable
from runtime.readiness import Readiness
from schemas.lock_events import Event, EventRecord, decode_event
from schemas.parked_facts import ParkedHeaders
from schemas.records import BadRecord
from schemas.topics import LockTopics
from schemas.undecodable import Undecodable

log = logging.getLogger(__name__)

EVENTS_KEPT = 20_000
EVENT_BYTES_KEPT = 32 * 1024 * 1024
LOCKS_KEPT = 100_000


class SeenEvent(msgspec.Struct, frozen=True, gc=False):
    """Holds one record of ``lock-events`` as the tail saw it; ``value`` is decoded on demand."""

    partition: int
    offset: int
    source_offset: int
    org_id: str
    value: bytes

    def event(self) -> Event:
        """Decodes the event.

        Raises:
            KafkaUnavailable: a foreign record, whose headers only look like an event's.
        """
        try:
            return decode_event(self.value)
        except Undecodable as error:
            where = f"partition {self.partition} offset {self.offset}"
            raise KafkaUnavailable(f"lock-events {where} can't be read: {error}") from error


class SeenParked(msgspec.Struct, frozen=True, gc=False):
    """Says that a fact can't become an event. ``source_offset``: the fact's, in this partition."""

    partition: int
    source_offset: int
    headers: ParkedHeaders


Outcome = SeenEvent | SeenParked


class LockView(msgspec.Struct, frozen=True, gc=False):
    """Says what is known of a lock: at ``version`` it was this organisation's. ``seen_at``: the
    partition and offset where the tail saw that; None if only the read model said so."""

    lock_uuid: UUID
    org_id: str
    version: int
    seen_at: tuple[int, int] | None = None


class Outcomes:
    """Holds the outcomes of the facts with one event id, as they come, for one reader. There may be
    several such facts."""

    __slots__ = ("_come", "_reader")

    def __init__(self) -> None:
        self._come: list[Outcome | None] = []
        self._reader: asyncio.Future[None] | None = None

    def put(self, outcome: Outcome | None) -> None:
        """Wakes the reader. None says that it need not wait any longer."""
        self._come.append(outcome)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Outcome | None:
        if not self._come:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._come.pop(0)

    def empty(self) -> bool:
        return not self._come


class RecentEvents:
    """Remembers the latest events and locks, and wakes the commands that wait for an event."""

    def __init__(self, topics: LockTopics, begin: Mapping[int, int], readiness: Readiness) -> None:
        self._topics = topics
        self._readiness = readiness
        # Not dicts: to find the first entry, those look at every one that was deleted before it.
        self._events: OrderedDict[str, SeenEvent] = OrderedDict()
        self._event_bytes = 0
        self._locks: OrderedDict[int, LockView] = OrderedDict()
        self._waiting: dict[str, list[Outcomes]] = {}
        self._covered_from = dict(begin)
        self._seen_to = dict(begin)

    # -- fed by the tail -----------------------------------------------------------------------

    def take(self, topic: str, records: Sequence[Record]) -> None:
        """Takes in records of ``lock-events`` or ``lock-facts.parked``, and wakes whoever waits for
        them. A record that can't be read is reported, and holds up nothing but its own answer."""
        read = self._take_event if topic == self._topics.lock_events else self._take_parked
        for record in records:
            try:
                read(record)
            except BadRecord as error:
                self._readiness.block("lock-events", f"a record can't be read: {error}")
        if records and topic == self._topics.lock_events:
            self._seen_to[records[-1].partition] = records[-1].offset + 1

    def _take_event(self, record: Record) -> None:
        read = EventRecord.read(self._topics.lock_events, record)
        headers = read.headers
        seen = SeenEvent(
            record.partition, record.offset, headers.source_offset, headers.org_id, read.value
        )
        self._remember(headers.event_id, seen)
        if headers.event_type != "TempKeyUsed":
            self._take_lock(seen, read.event())
        self._answer(headers.event_id, seen)

    def _take_parked(self, record: Record) -> None:
        headers = ParkedHeaders.read(self._topics.parked_facts, record)
        if headers.event_id is not None:
            seen = SeenParked(record.partition, headers.source_offset, headers)
            self._answer(headers.event_id, seen)

    def _take_lock(self, seen: SeenEvent, event: Event) -> None:
        """Remembers a change of any lock, since the read model may still hold the old state."""
        at = (seen.partition, seen.offset)
        view = LockView(event.aggregate_id, event.org_id, event.version, at)
        self.remember_lock(event.lock_id, view)

    def _remember(self, event_id: str, seen: SeenEvent) -> None:
        before = self._events.get(event_id)
        self._event_bytes += len(seen.value) - (len(before.value) if before is not None else 0)
        self._events[event_id] = seen
        while len(self._events) > EVENTS_KEPT or self._event_bytes > EVENT_BYTES_KEPT:
            _, forgotten = self._events.popitem(last=False)
            self._event_bytes -= len(forgotten.value)
            self._forget_up_to(forgotten.partition, forgotten.offset)

    def _forget_up_to(self, partition: int, offset: int) -> None:
        self._covered_from[partition] = max(self._covered_from[partition], offset + 1)

    def _answer(self, event_id: str, outcome: Outcome) -> None:
        for outcomes in self._waiting.get(event_id, ()):
            outcomes.put(outcome)

    # -- read by commands ----------------------------------------------------------------------

    def expect(self, event_id: str) -> Outcomes:
        """Returns what gets every outcome under this id from now on, until ``give_up``."""
        outcomes = Outcomes()
        self._waiting.setdefault(event_id, []).append(outcomes)
        return outcomes

    def give_up(self, event_id: str, outcomes: Outcomes) -> None:
        waiting = self._waiting[event_id]
        waiting.remove(outcomes)
        if not waiting:
            del self._waiting[event_id]

    def event(self, event_id: str) -> SeenEvent | None:
        return self._events.get(event_id)

    def lock(self, lock_id: int) -> LockView | None:
        return self._locks.get(lock_id)

    def remember_lock(self, lock_id: int, lock: LockView) -> None:
        """Remembers what is known of a lock, unless a later version is known already."""
        before = self._locks.get(lock_id)
        if before is not None:
            if before.version >= lock.version:
                return
            if lock.seen_at is None:
                lock = msgspec.structs.replace(lock, seen_at=before.seen_at)
        self._locks[lock_id] = lock
        self._locks.move_to_end(lock_id)
        if len(self._locks) > LOCKS_KEPT:
            _, forgotten = self._locks.popitem(last=False)
            if forgotten.seen_at is not None:
                self._forget_up_to(*forgotten.seen_at)

    def covered_from(self, partition: int) -> int:
        """Returns the offset from which on nothing of the partition has been forgotten: all that
        the tail has seen is in memory."""
        return self._covered_from[partition]

    def seen_to(self, partition: int) -> int:
        """Returns the offset before which the tail has seen all of the partition."""
        return self._seen_to[partition]

    @property
    def waiting(self) -> int:
        return len(self._waiting)
