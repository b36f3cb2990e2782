"""The read model as others use it: the one way to write, and the queries."""

import secrets
from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from read_model.changes import Changes
from read_model.database import Database
from read_model.fold import Row, Stretch, fold, id_time_ms
from read_model.key_lists import PostgresqlKeyLists, SqliteKeyLists
from read_model.parked_questions import ParkedQuestions
from read_model.queries import Queries
from read_model.rows import (
    EventRow,
    Fate,
    Known,
    LockRow,
    ParkedRow,
    Position,
    Progress,
    StoredParked,
)
from read_model.tables import LOCK_EVENTS, PARKED_FACTS
from runtime.errors import ReadModelUnavailable


class ReadModelMoved(ReadModelUnavailable):
    """The model's position is not where the writer left it: it was rebuilt or replaced."""


class ReadModel:
    def __init__(self, database: Database, partitions: int) -> None:
        self._database = database
        self._partitions = partitions
        keys = SqliteKeyLists() if database.is_sqlite else PostgresqlKeyLists()
        self._queries = Queries(keys)
        self._changes = Changes(keys, is_sqlite=database.is_sqlite)
        self.parked = ParkedQuestions(database, partitions)

    async def require(self) -> None:
        """Looks whether there is a read model, and makes nothing.

        Raises:
            ReadModelUnavailable: the database can't be reached.
            ConfigurationError: there is none at its place.
        """
        await self._database.require()

    async def prepare(self) -> None:
        """Makes tables and position rows where they are missing.

        Raises:
            ReadModelUnavailable: the database can't be reached.
        """
        await self._database.prepare()
        progress = await self.progress()
        folded = {LOCK_EVENTS: progress.events, PARKED_FACTS: progress.parked}
        rows: list[Row] = [
            {"stream": stream, "partition": p, **msgspec.structs.asdict(Position())}
            for stream in (LOCK_EVENTS, PARKED_FACTS)
            for p in set(range(self._partitions)) - folded[stream].keys()
        ]
        if rows or not progress.generation:
            await self._database.write(lambda c: self._begin(c, rows))

    def _begin(self, connection: Connection, rows: list[Row]) -> None:
        self._changes.add_positions(connection, rows)
        self._changes.begin_generation(connection, _new_generation())

    async def close(self) -> None:
        await self._database.close()

    async def notice_replaced_file(self) -> None:
        """Where the model is a SQLite file that was deleted or replaced: begins a new one, from
        which the projector will notice that everything is to be folded in again.

        Raises:
            ReadModelUnavailable: the database can't be reached.
        """
        if await self._database.reopen_if_replaced():
            await self.prepare()

    # -- writing -------------------------------------------------------------------------------

    async def apply(self, stretches: Sequence[Stretch]) -> None:
        """Folds stretches of ``lock-events`` in: rows and positions in one transaction. What is
        already folded in is passed over, so applying a stretch again changes nothing.

        Raises:
            ReadModelMoved: a stretch begins after the position: something between is missing; or
                the model is of another generation.
            ReadModelUnavailable: the database can't be reached, is locked or full.
            StreamViolation: a version does not follow its predecessor.
        """
        await self._database.write(lambda c: self._fold_in(c, stretches))

    def _fold_in(self, connection: Connection, stretches: Sequence[Stretch]) -> None:
        current = self._lock_positions(connection, LOCK_EVENTS, stretches)
        fresh = []
        for stretch in stretches:
            at = current[stretch.partition]
            left = [e for e in stretch.events if e.offset >= at.next_offset]
            fresh.extend(left)
            current[stretch.partition] = Position(
                next_offset=max(at.next_offset, stretch.end),
                source_offset=left[-1].source_offset if left else at.source_offset,
                newest_id_ms=max(
                    at.newest_id_ms, *(id_time_ms(e.event.event_id) for e in left), -1
                ),
            )
        lock_ids = sorted({e.event.lock_id for e in fresh})
        versions = self._queries.versions(connection, lock_ids)
        self._changes.write_rows(connection, fold(fresh, versions))
        self._changes.write_positions(connection, LOCK_EVENTS, current)

    async def apply_parked(self, stretches: Sequence[Stretch]) -> None:
        """As ``apply``, for stretches of ``lock-facts.parked``. A gap is no error here: retention
        deletes old parked facts.

        Raises:
            ReadModelMoved: the model is of another generation.
            ReadModelUnavailable: the database can't be reached, is locked or full.
        """
        await self._database.write(lambda c: self._fold_parked_in(c, stretches))

    def _fold_parked_in(self, connection: Connection, stretches: Sequence[Stretch]) -> None:
        current = self._lock_positions(connection, PARKED_FACTS, stretches, gaps=True)
        rows: list[Row] = []
        for stretch in stretches:
            at = current[stretch.partition]
            left = [f for f in stretch.parked if f.offset >= at.next_offset]
            rows += [
                {
                    "partition": stretch.partition,
                    "offset": fact.offset,
                    **msgspec.structs.asdict(StoredParked.of(fact.headers)),
                }
                for fact in left
            ]
            current[stretch.partition] = Position(
                next_offset=max(at.next_offset, stretch.end),
                source_offset=left[-1].headers.source_offset if left else at.source_offset,
            )
        self._changes.add_parked(connection, rows)
        self._changes.write_positions(connection, PARKED_FACTS, current)

    async def reset(self) -> int:
        """Empties everything, and returns the generation that begins. Running projectors notice
        and fold the log in again.

        Raises:
            ReadModelUnavailable: the database can't be reached or is locked.
        """
        generation = _new_generation()
        await self._database.write(lambda c: self._changes.empty(c, generation))
        return generation

    def _lock_positions(
        self,
        connection: Connection,
        stream: str,
        stretches: Sequence[Stretch],
        *,
        gaps: bool = False,
    ) -> dict[int, Position]:
        wanted = sorted({stretch.partition for stretch in stretches})
        current = self._changes.lock_positions(connection, stream, wanted)
        # Only now: whoever empties the model has all positions first.
        generation = self._queries.generation(connection)
        reached = {p: at.next_offset for p, at in current.items()}
        for stretch in stretches:
            if stretch.partition not in current:
                raise ReadModelMoved(f"the read model has no partition {stretch.partition}")
            if stretch.generation not in (None, generation):
                raise ReadModelMoved("the read model was emptied or replaced meanwhile")
            if stretch.begin > reached[stretch.partition] and not gaps:
                raise ReadModelMoved(
                    f"the read model is at {reached[stretch.partition]} of partition "
                    f"{stretch.partition}, and was to go on at {stretch.begin}"
                )
            reached[stretch.partition] = max(reached[stretch.partition], stretch.end)
        return current

    # -- queries -------------------------------------------------------------------------------

    async def positions(self, stream: str) -> dict[int, Position]:
        """How far each partition of the stream is folded in.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(lambda c: self._queries.positions(c, stream))

    async def progress(self) -> Progress:
        """
        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """

        def ask(connection: Connection) -> Progress:
            return Progress(
                generation=self._queries.generation(connection),
                events=self._queries.positions(connection, LOCK_EVENTS),
                parked=self._queries.positions(connection, PARKED_FACTS),
            )

        return await self._database.read(ask)

    async def lock(self, lock_id: int, partition: int) -> tuple[LockRow | None, Position]:
        """A lock, and how far its partition was folded in when it was looked up.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """

        def ask(connection: Connection) -> tuple[LockRow | None, Position]:
            found = self._queries.locks(connection, [lock_id]).get(lock_id)
            return found, self._queries.position(connection, LOCK_EVENTS, partition)

        return await self._database.read(ask)

    async def locks(self, lock_ids: Iterable[int]) -> dict[int, LockRow]:
        """Those of ``lock_ids`` that exist.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        asked = list(lock_ids)
        return await self._database.read(lambda c: self._queries.locks(c, asked))

    async def locks_after(self, lock_id: int, org_id: str | None, limit: int) -> list[LockRow]:
        """At most ``limit`` locks with greater ids, by id; of this organisation, if one is named.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(
            lambda c: self._queries.locks_after(c, lock_id, org_id, limit)
        )

    async def count_locks_of(self, org_id: str) -> int:
        """How many locks are the organisation's.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(lambda c: self._queries.count_locks(c, org_id))

    async def uuid_owners(self, lock_uuids: Sequence[UUID]) -> dict[UUID, int]:
        """The ids of the locks that have these UUIDs, as far as there are any.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(lambda c: self._queries.uuid_owners(c, lock_uuids))

    async def known_lock_ids(self, lock_ids: Iterable[int]) -> set[int]:
        """Those of ``lock_ids`` that exist.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        asked = list(lock_ids)
        return set(await self._database.read(lambda c: self._queries.versions(c, asked)))

    async def events_of(
        self, lock_id: int, partition: int, org_id: str, after_version: int, limit: int
    ) -> tuple[list[EventRow], Position]:
        """A lock's events that were this organisation's, by version, and how far its partition was
        folded in when they were looked up.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """

        def ask(connection: Connection) -> tuple[list[EventRow], Position]:
            rows = self._queries.history(connection, lock_id, org_id, after_version, limit)
            return rows, self._queries.position(connection, LOCK_EVENTS, partition)

        return await self._database.read(ask)

    async def event(self, event_id: UUID) -> EventRow | None:
        """
        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(lambda c: self._queries.event(c, event_id))

    async def event_at(self, event_id: UUID) -> tuple[EventRow | None, dict[int, Position]]:
        """The event with this id, and how far everything was folded in when it was looked up.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """

        def ask(connection: Connection) -> tuple[EventRow | None, dict[int, Position]]:
            row = self._queries.event(connection, event_id)
            return row, self._queries.positions(connection, LOCK_EVENTS)

        return await self._database.read(ask)

    async def fate(self, event_id: UUID) -> Fate:
        """The event or the parked fact with this id, in one consistent view.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """

        def ask(connection: Connection) -> Fate:
            return Fate(
                event=self._queries.event(connection, event_id),
                parked=self._queries.parked_fact(connection, event_id),
                positions=self._queries.positions(connection, LOCK_EVENTS),
            )

        return await self._database.read(ask)

    async def event_values(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """The stored values of the events with these ``(lock id, version)``.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(lambda c: self._queries.event_values(c, pairs))

    async def count_parked(self) -> int:
        """How many facts are parked.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(self._queries.count_parked)

    async def parked_fact(self, event_id: UUID) -> ParkedRow | None:
        """The latest parked fact with this event id.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(lambda c: self._queries.parked_fact(c, event_id))

    async def parked_facts(self, event_ids: Sequence[UUID]) -> dict[UUID, ParkedRow]:
        """The latest parked fact with each of these event ids.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(lambda c: self._queries.parked_facts(c, event_ids))

    async def locks_and_uses(
        self, lock_ids: Sequence[int]
    ) -> tuple[dict[int, LockRow], dict[int, int]]:
        """These locks, and how often each was used, in one consistent view.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._database.read(
            lambda c: (self._queries.locks(c, lock_ids), self._queries.used_totals(c, lock_ids))
        )

    async def known(
        self,
        partition: int,
        lock_ids: Sequence[int],
        temp_keys_used: Sequence[tuple[int, str]],
        event_ids: Sequence[UUID],
        lock_uuids: Sequence[UUID],
    ) -> Known:
        """What the projector needs to decide on a batch, in one consistent view.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """

        def ask(connection: Connection) -> Known:
            return Known(
                generation=self._queries.generation(connection),
                position=self._queries.position(connection, LOCK_EVENTS, partition),
                locks=self._queries.locks(connection, lock_ids),
                used_counts=self._queries.used_counts(connection, temp_keys_used),
                event_ids=self._queries.existing_event_ids(connection, event_ids),
                uuid_owners=self._queries.uuid_owners(connection, lock_uuids),
            )

        return await self._database.read(ask)


def _new_generation() -> int:
    """Random: a new file in an old one's place has to have another too."""
    return 1 + secrets.randbits(62)
