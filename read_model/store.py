"""Offers the read model to others: the one way to write, and the questions."""

import secrets
from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import Connection

from read_model.changes import Changes
from read_model.database import Database
from read_model.fold import Row, Stretch
from read_model.folding import Folding
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
)
from read_model.tables import LOCK_EVENTS, PARKED_FACTS
from schemas.topics import LockTopics


class ReadModel:
    """Writes the read model, and answers questions about it.

    Each question is answered from one consistent view, and raises ``ReadModelUnavailable`` if the
    database can't be reached or is too slow."""

    def __init__(self, database: Database, topics: LockTopics) -> None:
        self._database = database
        self._topics = topics
        keys = SqliteKeyLists() if database.is_sqlite else PostgresqlKeyLists()
        self._queries = Queries(keys)
        self._changes = Changes(keys, is_sqlite=database.is_sqlite)
        self._folding = Folding(self._queries, self._changes)
        self.parked = ParkedQuestions(database, topics)

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
            for p in set(self._topics.numbers) - folded[stream].keys()
        ]
        if rows or not progress.generation:
            await self._database.write(lambda c: self._begin(c, rows))

    def _begin(self, connection: Connection, rows: list[Row]) -> None:
        self._changes.add_positions(connection, rows)
        self._changes.begin_generation(connection, _new_generation())

    async def close(self) -> None:
        await self._database.close()

    async def notice_replaced_file(self) -> None:
        """Begins a new SQLite file where ours was deleted or replaced. From that one the projector
        will notice that everything is to be folded in again.

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
        await self._database.write(lambda c: self._folding.fold_in(c, stretches))

    async def apply_parked(self, stretches: Sequence[Stretch]) -> None:
        """Folds stretches of ``lock-facts.parked`` in, as ``apply`` does. A gap is no error here:
        retention deletes old parked facts.

        Raises:
            ReadModelMoved: the model is of another generation.
            ReadModelUnavailable: the database can't be reached, is locked or full.
        """
        await self._database.write(lambda c: self._folding.fold_parked_in(c, stretches))

    async def reset(self) -> int:
        """Empties everything, and returns the generation that begins. Running projectors notice
        and fold the log in again.

        Raises:
            ReadModelUnavailable: the database can't be reached or is locked.
        """
        generation = _new_generation()
        await self._database.write(lambda c: self._changes.empty(c, generation))
        return generation

    # -- queries -------------------------------------------------------------------------------

    async def positions(self, stream: str) -> dict[int, Position]:
        """Returns how far each partition of the stream is folded in."""
        return await self._database.read(lambda c: self._queries.positions(c, stream))

    async def progress(self) -> Progress:
        """Returns how far everything is folded in, and of which generation the model is."""

        def ask(connection: Connection) -> Progress:
            return Progress(
                generation=self._queries.generation(connection),
                events=self._queries.positions(connection, LOCK_EVENTS),
                parked=self._queries.positions(connection, PARKED_FACTS),
            )

        return await self._database.read(ask)

    async def lock(self, lock_id: int, partition: int) -> tuple[LockRow | None, Position]:
        """Returns a lock, and how far its partition was folded in when it was looked up."""

        def ask(connection: Connection) -> tuple[LockRow | None, Position]:
            found = self._queries.locks(connection, [lock_id]).get(lock_id)
            return found, self._queries.position(connection, LOCK_EVENTS, partition)

        return await self._database.read(ask)

    async def locks(self, lock_ids: Iterable[int]) -> dict[int, LockRow]:
        """Returns those of ``lock_ids`` that exist."""
        ids = list(lock_ids)
        return await self._database.read(lambda c: self._queries.locks(c, ids))

    async def locks_after(self, lock_id: int, org_id: str | None, limit: int) -> list[LockRow]:
        """Returns the next ``limit`` locks by id, of one organisation or of all."""
        return await self._database.read(
            lambda c: self._queries.locks_after(c, lock_id, org_id, limit)
        )

    async def count_locks_of(self, org_id: str) -> int:
        """Counts the organisation's locks."""
        return await self._database.read(lambda c: self._queries.count_locks(c, org_id))

    async def uuid_owners(self, lock_uuids: Sequence[UUID]) -> dict[UUID, int]:
        """Returns the ids of the locks that have these UUIDs, as far as there are any."""
        return await self._database.read(lambda c: self._queries.uuid_owners(c, lock_uuids))

    async def known_lock_ids(self, lock_ids: Iterable[int]) -> set[int]:
        """Returns those of ``lock_ids`` that exist."""
        ids = list(lock_ids)
        return set(await self._database.read(lambda c: self._queries.versions(c, ids)))

    async def events_of(
        self, lock_id: int, partition: int, org_id: str, after_version: int, limit: int
    ) -> tuple[list[EventRow], Position]:
        """Returns a lock's events that were this organisation's, by version, and how far its
        partition was folded in when they were looked up."""

        def ask(connection: Connection) -> tuple[list[EventRow], Position]:
            rows = self._queries.history(connection, lock_id, org_id, after_version, limit)
            return rows, self._queries.position(connection, LOCK_EVENTS, partition)

        return await self._database.read(ask)

    async def event(self, event_id: UUID) -> EventRow | None:
        return await self._database.read(lambda c: self._queries.event(c, event_id))

    async def event_at(self, event_id: UUID) -> tuple[EventRow | None, dict[int, Position]]:
        """Returns the event with this id, and how far everything was folded in then."""

        def ask(connection: Connection) -> tuple[EventRow | None, dict[int, Position]]:
            row = self._queries.event(connection, event_id)
            return row, self._queries.positions(connection, LOCK_EVENTS)

        return await self._database.read(ask)

    async def fate(self, event_id: UUID) -> Fate:
        """Returns the event and the parked fact with this id, and how far events were folded in."""

        def ask(connection: Connection) -> Fate:
            return Fate(
                event=self._queries.event(connection, event_id),
                parked=self._queries.parked_fact(connection, event_id),
                positions=self._queries.positions(connection, LOCK_EVENTS),
            )

        return await self._database.read(ask)

    async def event_values(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """Returns the stored values of the events with these ``(lock id, version)``."""
        return await self._database.read(lambda c: self._queries.event_values(c, pairs))

    async def count_parked(self) -> int:
        """Counts the parked facts."""
        return await self._database.read(self._queries.count_parked)

    async def parked_fact(self, event_id: UUID) -> ParkedRow | None:
        """Returns the latest parked fact with this event id."""
        return await self._database.read(lambda c: self._queries.parked_fact(c, event_id))

    async def parked_facts(self, event_ids: Sequence[UUID]) -> dict[UUID, ParkedRow]:
        """Returns the latest parked fact with each of these event ids."""
        return await self._database.read(lambda c: self._queries.parked_facts(c, event_ids))

    async def locks_and_uses(
        self, lock_ids: Sequence[int]
    ) -> tuple[dict[int, LockRow], dict[int, int]]:
        """Returns these locks, and how often each was used."""
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
        """Returns what the projector needs to decide on a batch."""

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
    """Returns a random number: a new file in an old one's place must have another too."""
    return 1 + secrets.randbits(62)
