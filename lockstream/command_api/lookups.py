"""Finding locks and events: in memory first, then in the read model, and honest about gaps."""

import asyncio
from uuid import UUID

import msgspec

from lockstream.command_api.errors import NotFound
from lockstream.command_api.recent_events import LockView, RecentEvents
from lockstream.read_model.rows import ParkedRow, Position
from lockstream.read_model.store import ReadModel
from lockstream.read_model.tables import LOCK_EVENTS
from lockstream.runtime.errors import ReadModelUnavailable
from lockstream.runtime.process import first_of
from lockstream.runtime.readiness import Readiness
from lockstream.schemas.lock_events import Event, decode_event
from lockstream.schemas.topics import partition_of

WATCH_EVERY_S = 1.0
OBSTACLE = "read model"


class FoundEvent(msgspec.Struct, frozen=True):
    """``source_offset``: of its fact in ``lock-facts``."""

    event: Event
    source_offset: int


class Lookups:
    def __init__(
        self,
        read_model: ReadModel,
        recent: RecentEvents,
        partitions: int,
        positions: dict[int, Position],
        caught_up: asyncio.Event,
    ) -> None:
        """``caught_up``: set once ``recent`` has seen all that was there when it began."""
        self._read_model = read_model
        self._recent = recent
        self._partitions = partitions
        self._positions = positions
        self._caught_up = caught_up

    async def watch(self, readiness: Readiness, stop: asyncio.Event) -> None:
        """Keeps track of how far the read model is, until ``stop`` is set."""
        while not stop.is_set():
            try:
                await self._read_model.notice_replaced_file()
                self._positions = await self._read_model.positions(LOCK_EVENTS)
            except ReadModelUnavailable as error:
                readiness.block(OBSTACLE, str(error))
            else:
                readiness.clear(OBSTACLE)
            await first_of(stop, timeout_s=WATCH_EVERY_S)

    def source_offset(self, partition: int) -> int:
        """The largest fact offset known to be folded in; -1 for none."""
        at = self._positions.get(partition)
        return at.source_offset if at is not None else -1

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
        partition = partition_of(lock_id, self._partitions)
        row, position = await self._read_model.lock(lock_id, partition)
        lock = self._recent.lock(lock_id)
        if lock is None and row is not None:
            lock = LockView(row.lock_uuid, row.org_id)
            self._recent.remember_lock(lock_id, lock)
        if lock is not None and lock.org_id == org_id:
            return lock
        self._check_covered(partition, position)
        raise NotFound

    def _check_covered(self, partition: int, position: Position) -> None:
        if not self._caught_up.is_set():
            raise ReadModelUnavailable("the end of the stream has not been read yet")
        if position.next_offset < self._recent.covered_from(partition):
            raise ReadModelUnavailable(
                f"the read model is behind: at {position.next_offset} of partition {partition}"
            )

    async def check_history(self, lock_id: int) -> None:
        """
        Raises:
            ReadModelUnavailable: the lock's events are not all folded in, as in a rebuild.
        """
        partition = partition_of(lock_id, self._partitions)
        _, position = await self._read_model.lock(lock_id, partition)
        self._check_covered(partition, position)

    async def event(self, event_id: UUID) -> FoundEvent | None:
        """The event with this id, wherever in the stream it stands, whoever's it is.

        Raises:
            ReadModelUnavailable: it can't be known now.
        """
        seen = self._recent.event(str(event_id))
        if seen is not None:
            return FoundEvent(seen.event(), seen.source_offset)
        row = await self._read_model.event(event_id)
        if row is not None:
            return FoundEvent(decode_event(row.value), row.source_offset)
        self._check_all_covered()
        return None

    async def event_of(self, event_id: UUID, org_id: str) -> Event | None:
        """The organisation's event with this id; another's is like none.

        Raises:
            ReadModelUnavailable: it can't be known now.
        """
        found = await self.event(event_id)
        if found is not None and found.event.org_id == org_id:
            return found.event
        self._check_all_covered()
        return None

    def _check_all_covered(self) -> None:
        for partition, position in self._positions.items():
            self._check_covered(partition, position)

    async def parked(self, event_id: UUID) -> ParkedRow | None:
        return await self._read_model.parked_fact(event_id)
