"""Joins recent events in memory and the read model into one view of the event stream.

Each question takes rows and positions from one transaction of the read model, then looks into
memory once more: what was recorded meanwhile is in one of the two. Where there is a gap between
them, the answer is ``ReadModelUnavailable`` and not "there is none".
"""

import asyncio
from collections.abc import Mapping
from uuid import UUID

import msgspec

from command_api.errors import NotFound, VersionNotReached
from command_api.recent_events import LockView, RecentEvents
from eventlog.watch import OBSTACLE as KAFKA_AWAY
from read_model.rows import EventRow, LockRow, ParkedRow, Position
from read_model.store import ReadModel
from read_model.tables import LOCK_EVENTS
from runtime.errors import ReadModelUnavailable
from runtime.readiness import Readiness
from runtime.waiting import first_of
from schemas.lock_events import Event, decode_event
from schemas.topics import LockTopics

WATCH_EVERY_S = 1.0
OBSTACLE = "read model"
FIRST_POLL_S = 0.01
LONGEST_POLL_S = 0.1


class History(msgspec.Struct, frozen=True):
    """Holds one page of a lock's events, by version. ``more``: later ones follow."""

    lock_uuid: UUID
    events: list[Event]
    more: bool


class Unprojected(msgspec.Struct, frozen=True):
    """No event and no parked fact has the id, as far as the log was projected. ``next_facts``: the
    offset of the first fact of each partition that was not."""

    next_facts: Mapping[int, int]


class StreamView:
    """Answers what is known of locks and events, for one organisation at a time."""

    def __init__(
        self,
        read_model: ReadModel,
        recent: RecentEvents,
        topics: LockTopics,
        caught_up: asyncio.Event,
        readiness: Readiness,
        answer_timeout_s: float,
    ) -> None:
        """``caught_up`` is set once ``recent`` has seen all that was there when its tail began.
        ``answer_timeout_s``: how long ``lock_at`` waits."""
        self._read_model = read_model
        self._recent = recent
        self._topics = topics
        self._caught_up = caught_up
        self._readiness = readiness
        self._answer_timeout_s = answer_timeout_s

    async def watch(self, stop: asyncio.Event) -> None:
        """Reports to readiness whether the read model can be asked, until ``stop`` is set."""
        while not stop.is_set():
            try:
                await self._read_model.notice_replaced_file()
                await self._read_model.positions(LOCK_EVENTS)
            except ReadModelUnavailable as error:
                self._readiness.block(OBSTACLE, str(error))
            else:
                self._readiness.clear(OBSTACLE)
            await first_of(stop, timeout_s=WATCH_EVERY_S)

    # -- locks ---------------------------------------------------------------------------------

    def remembered(self, lock_id: int, org_id: str) -> LockView | None:
        """Returns the organisation's lock if memory holds it."""
        lock = self._recent.lock(lock_id)
        return lock if lock is not None and lock.org_id == org_id else None

    async def lock_of(self, lock_id: int, org_id: str) -> LockView:
        """Returns the organisation's lock, from memory if that holds it.

        Raises:
            NotFound: no such lock, or another organisation's.
            ReadModelUnavailable: it can't be known now.
        """
        lock = self.remembered(lock_id, org_id)
        if lock is not None:
            return lock
        # Another organisation's lock takes the way of none: the same work, the same answers.
        partition = self._topics.partition_of(lock_id)
        row, position = await self._read_model.lock(lock_id, partition)
        return self._decide(lock_id, org_id, row, position)

    async def lock_at(self, lock_id: int, org_id: str, min_version: int) -> LockRow:
        """Waits until the read model holds the lock at ``min_version`` or a later version.

        Raises:
            NotFound: no such lock, or another organisation's.
            VersionNotReached: it has not, and the read model holds all that was recorded.
            ReadModelUnavailable: it can't be known in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._answer_timeout_s
        pause = FIRST_POLL_S
        while True:
            row, current = await self._shown_lock(lock_id, org_id)
            if row is not None and row.version >= min_version:
                return row
            if loop.time() + pause > deadline:
                if row is not None and current:
                    raise VersionNotReached(lock_id, row.version, min_version)
                raise ReadModelUnavailable(f"lock {lock_id} has not reached version {min_version}")
            await asyncio.sleep(pause)
            pause = min(LONGEST_POLL_S, pause * 1.5)

    async def _shown_lock(self, lock_id: int, org_id: str) -> tuple[LockRow | None, bool]:
        """Returns the lock's row, or None while memory knows a later state; and whether the row is
        current: the read model holds all that this replica has seen of the partition.

        Raises:
            NotFound: no such lock, or another organisation's.
            ReadModelUnavailable: it can't be known now.
        """
        partition = self._topics.partition_of(lock_id)
        row, position = await self._read_model.lock(lock_id, partition)
        lock = self._decide(lock_id, org_id, row, position)
        if row is not None and (row.version < lock.version or self._is_behind(partition, position)):
            row = None
        seen = self._caught_up.is_set() and KAFKA_AWAY not in self._readiness.obstacles
        current = seen and position.next_offset >= self._recent.seen_to(partition)
        return row, current

    async def history(self, lock_id: int, org_id: str, after_version: int, limit: int) -> History:
        """Returns the lock's events after a version that were this organisation's, ``limit`` of
        them at most.

        Raises:
            NotFound: no such lock, or another organisation's.
            ReadModelUnavailable: the read model does not hold them all, as in a rebuild.
        """
        lock = await self.lock_of(lock_id, org_id)
        partition = self._topics.partition_of(lock_id)
        rows, position = await self._read_model.events_of(
            lock_id, partition, org_id, after_version, limit + 1
        )
        self._check_covered(partition, position)
        events = [decode_event(row.value) for row in rows[:limit]]
        return History(lock.lock_uuid, events, more=len(rows) > limit)

    def _decide(self, lock_id: int, org_id: str, row: LockRow | None, at: Position) -> LockView:
        """Decides what a row and memory together say of a lock.

        Raises:
            NotFound: no such lock, or another organisation's.
            ReadModelUnavailable: it can't be known now.
        """
        partition = self._topics.partition_of(lock_id)
        lock = self._recent.lock(lock_id)
        if lock is None and self._is_behind(partition, at):
            # The row may be older than a change that memory has forgotten.
            raise _behind(partition, at)
        if row is not None and (lock is None or lock.version < row.version):
            lock = LockView(row.lock_uuid, row.org_id, row.version)
            self._recent.remember_lock(lock_id, lock)
        if lock is not None and lock.org_id == org_id:
            return lock
        self._check_covered(partition, at)
        raise NotFound

    # -- events --------------------------------------------------------------------------------

    async def event(self, event_id: UUID) -> Event | None:
        """Finds the event with this id, anywhere in the stream and of any organisation.

        Raises:
            ReadModelUnavailable: it can't be known now.
        """
        event = self._seen(event_id)
        if event is not None:
            return event
        row, positions = await self._read_model.event_at(event_id)
        event = self._seen(event_id) or _of(row)
        if event is None:
            self._check_all_covered(positions)
        return event

    async def fate_of(self, event_id: UUID, org_id: str) -> Event | ParkedRow | Unprojected:
        """Finds what became of the organisation's fact with this id; another's is like none.

        Raises:
            ReadModelUnavailable: it can't be known now.
        """
        event = self._seen(event_id)
        if event is not None and event.org_id == org_id:
            return event
        fate = await self._read_model.fate(event_id)
        event = self._seen(event_id) or _of(fate.event)
        if event is not None and event.org_id == org_id:
            return event
        self._check_all_covered(fate.positions)
        if fate.parked is not None and fate.parked.org_id == org_id:
            return fate.parked
        return Unprojected(
            {p: _at(fate.positions, p).source_offset + 1 for p in self._topics.numbers}
        )

    def _seen(self, event_id: UUID) -> Event | None:
        seen = self._recent.event(str(event_id))
        return seen.event() if seen is not None else None

    # -- what can be known ---------------------------------------------------------------------

    def _is_behind(self, partition: int, at: Position) -> bool:
        """Tells whether there is a gap between the read model and what is in memory."""
        return at.next_offset < self._recent.covered_from(partition)

    def _check_covered(self, partition: int, at: Position) -> None:
        if not self._caught_up.is_set():
            raise ReadModelUnavailable("the end of the stream has not been read yet")
        if self._is_behind(partition, at):
            raise _behind(partition, at)

    def _check_all_covered(self, positions: Mapping[int, Position]) -> None:
        for partition in self._topics.numbers:
            self._check_covered(partition, _at(positions, partition))


def _of(row: EventRow | None) -> Event | None:
    return decode_event(row.value) if row is not None else None


def _at(positions: Mapping[int, Position], partition: int) -> Position:
    return positions.get(partition, Position())


def _behind(partition: int, at: Position) -> ReadModelUnavailable:
    return ReadModelUnavailable(
        f"the read model is behind: at {at.next_offset} of partition {partition}"
    )
