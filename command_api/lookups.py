"""Finding locks and events: in memory first, then in the read model, and honest about gaps.

Each look takes rows and positions from one transaction of the read model, then looks into memory
once more: what was recorded meanwhile is in one of the two.
"""

import asyncio
from collections.abc import Mapping
from uuid import UUID

import msgspec

from command_api.errors import NotFound
from command_api.recent_events import LockView, RecentEvents
from eventlog.watch import OBSTACLE as KAFKA_AWAY
from read_model.rows import EventRow, LockRow, ParkedRow, Position
from read_model.store import ReadModel
from read_model.tables import LOCK_EVENTS
from runtime.errors import ReadModelUnavailable
from runtime.readiness import Readiness
from runtime.waiting import first_of
from schemas.lock_events import Event, decode_event
from schemas.topics import partition_of

WATCH_EVERY_S = 1.0
OBSTACLE = "read model"


class ShownLock(msgspec.Struct, frozen=True):
    """``row``: None while the read model does not hold what is known of the lock. ``current``:
    whether it holds all that this replica has seen of the lock's partition."""

    row: LockRow | None
    current: bool


class Unseen(msgspec.Struct, frozen=True):
    """Nobody's event and no parked fact, as far as the log is projected. ``begins``: the fact
    offsets, by partition, from which on it was not, when that was looked up."""

    begins: Mapping[int, int]


class Lookups:
    def __init__(
        self,
        read_model: ReadModel,
        recent: RecentEvents,
        partitions: int,
        caught_up: asyncio.Event,
        readiness: Readiness,
    ) -> None:
        """``caught_up``: set once ``recent`` has seen all that was there when it began."""
        self._read_model = read_model
        self._recent = recent
        self._partitions = partitions
        self._caught_up = caught_up
        self._readiness = readiness

    async def watch(self, stop: asyncio.Event) -> None:
        """Says in readiness whether the read model can be asked, until ``stop`` is set."""
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
        """The organisation's lock, if it is in memory."""
        lock = self._recent.lock(lock_id)
        return lock if lock is not None and lock.org_id == org_id else None

    async def lock_of(self, lock_id: int, org_id: str) -> LockView:
        """
        Raises:
            NotFound: no such lock, or another organisation's.
            ReadModelUnavailable: it can't be known now.
        """
        lock = self.remembered(lock_id, org_id)
        if lock is not None:
            return lock
        # Another's takes the way of one that does not exist: the same work, the same answers.
        row, position = await self._read_model.lock(lock_id, self._partition_of(lock_id))
        return self._judged(lock_id, org_id, row, position)

    async def shown_lock(self, lock_id: int, org_id: str) -> ShownLock:
        """
        Raises:
            NotFound: no such lock, or another organisation's.
            ReadModelUnavailable: it can't be known now.
        """
        partition = self._partition_of(lock_id)
        row, position = await self._read_model.lock(lock_id, partition)
        lock = self._judged(lock_id, org_id, row, position)
        if row is not None and (row.version < lock.version or self._is_behind(partition, position)):
            row = None
        seen = self._caught_up.is_set() and KAFKA_AWAY not in self._readiness.obstacles
        current = seen and position.next_offset >= self._recent.seen_to(partition)
        return ShownLock(row, current)

    def _judged(self, lock_id: int, org_id: str, row: LockRow | None, at: Position) -> LockView:
        """
        Raises:
            NotFound: no such lock, or another organisation's.
            ReadModelUnavailable: it can't be known now.
        """
        partition = self._partition_of(lock_id)
        lock = self._recent.lock(lock_id)
        if lock is None and self._is_behind(partition, at):
            # Such a row may be of before a change that memory has forgotten.
            raise _behind(partition, at)
        if row is not None and (lock is None or lock.version < row.version):
            lock = LockView(row.lock_uuid, row.org_id, row.version)
            self._recent.remember_lock(lock_id, lock)
        if lock is not None and lock.org_id == org_id:
            return lock
        self._check_covered(partition, at)
        raise NotFound

    def check_history(self, lock_id: int, at: Position) -> None:
        """``at``: how far the lock's partition was folded in when its events were looked up.

        Raises:
            ReadModelUnavailable: they were not all there, as in a rebuild.
        """
        self._check_covered(self._partition_of(lock_id), at)

    # -- events --------------------------------------------------------------------------------

    async def event(self, event_id: UUID) -> Event | None:
        """The event with this id, wherever in the stream it stands, whoever's it is.

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

    async def fate_of(self, event_id: UUID, org_id: str) -> Event | ParkedRow | Unseen:
        """What became of the organisation's fact with this id; another's is like none.

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
        return Unseen(
            {p: _at(fate.positions, p).source_offset + 1 for p in range(self._partitions)}
        )

    def _seen(self, event_id: UUID) -> Event | None:
        seen = self._recent.event(str(event_id))
        return seen.event() if seen is not None else None

    # -- what can be known ---------------------------------------------------------------------

    def _partition_of(self, lock_id: int) -> int:
        return partition_of(lock_id, self._partitions)

    def _is_behind(self, partition: int, at: Position) -> bool:
        """Whether something lies between the read model and what is in memory."""
        return at.next_offset < self._recent.covered_from(partition)

    def _check_covered(self, partition: int, at: Position) -> None:
        if not self._caught_up.is_set():
            raise ReadModelUnavailable("the end of the stream has not been read yet")
        if self._is_behind(partition, at):
            raise _behind(partition, at)

    def _check_all_covered(self, positions: Mapping[int, Position]) -> None:
        for partition in range(self._partitions):
            self._check_covered(partition, _at(positions, partition))


def _of(row: EventRow | None) -> Event | None:
    return decode_event(row.value) if row is not None else None


def _at(positions: Mapping[int, Position], partition: int) -> Position:
    return positions.get(partition, Position())


def _behind(partition: int, at: Position) -> ReadModelUnavailable:
    return ReadModelUnavailable(
        f"the read model is behind: at {at.next_offset} of partition {partition}"
    )
