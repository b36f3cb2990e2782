"""The read model as others use it: the one way to write, and the queries."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import Table, delete, func, select, text, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from lockstream.read_model.database import Database
from lockstream.read_model.fold import Row, Rows, Stretch, fold, id_time_ms
from lockstream.read_model.queries import (
    CHUNK,
    existing_event_ids,
    locks_by_id,
    position_of,
    to_event_row,
    to_position,
    used_counts_of,
    versions_by_id,
    write_positions,
)
from lockstream.read_model.rows import EventRow, Known, LockRow, ParkedRow, Position
from lockstream.read_model.tables import (
    LOCK_EVENTS,
    PARKED_FACTS,
    events,
    locks,
    parked,
    positions,
    temp_keys,
)
from lockstream.runtime.errors import ReadModelUnavailable
from lockstream.schemas.primitives import printable


class ReadModelMoved(ReadModelUnavailable):
    """The model's position is not where the writer left it: it was rebuilt or replaced."""


class ReadModel:
    def __init__(self, database: Database, partitions: int) -> None:
        self._database = database
        self._partitions = partitions

    async def prepare(self) -> None:
        """Makes tables and position rows where they are missing.

        Raises:
            ReadModelUnavailable: the database can't be reached.
        """
        await self._database.prepare()
        rows: list[Row] = [
            {"stream": stream, "partition": p, **msgspec.structs.asdict(Position())}
            for stream in (LOCK_EVENTS, PARKED_FACTS)
            for p in set(range(self._partitions)) - (await self.positions(stream)).keys()
        ]
        if rows:
            async with self._database.writing() as connection:
                await self._insert(connection, positions, rows, replace=False)

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
            ReadModelMoved: a stretch begins after the position: something between is missing.
            ReadModelUnavailable: the database can't be reached, is locked or full.
            StreamViolation: a version does not follow its predecessor.
        """
        async with self._database.writing() as connection:
            current = await self._lock_positions(connection, LOCK_EVENTS, stretches)
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
            versions = await versions_by_id(connection, {e.event.lock_id for e in fresh})
            await self._write_rows(connection, fold(fresh, versions))
            await write_positions(connection, LOCK_EVENTS, current)

    async def apply_parked(self, stretches: Sequence[Stretch]) -> None:
        """As ``apply``, for stretches of ``lock-facts.parked``. A gap is no error here: retention
        deletes old parked facts.

        Raises:
            ReadModelUnavailable: the database can't be reached, is locked or full.
        """
        async with self._database.writing() as connection:
            current = await self._lock_positions(connection, PARKED_FACTS, stretches, gaps=True)
            rows: list[Row] = []
            for stretch in stretches:
                at = current[stretch.partition]
                left = [f for f in stretch.parked if f.offset >= at.next_offset]
                for fact in left:
                    event_id = fact.headers.event_id
                    rows.append(
                        {
                            "partition": stretch.partition,
                            "offset": fact.offset,
                            "event_id": UUID(event_id).bytes if event_id else None,
                            "lock_id": fact.headers.lock_id,
                            "org_id": fact.headers.org_id,
                            "reason": fact.headers.reason,
                            # PostgreSQL takes no NUL in text, and the log may hold some.
                            "detail": printable(fact.headers.detail),
                            "source_offset": fact.headers.source_offset,
                        }
                    )
                current[stretch.partition] = Position(
                    next_offset=max(at.next_offset, stretch.end),
                    source_offset=left[-1].headers.source_offset if left else at.source_offset,
                )
            await self._insert(connection, parked, rows, replace=False)
            await write_positions(connection, PARKED_FACTS, current)

    async def reset(self) -> None:
        """Empties everything; running projectors notice and fold the log in again.

        Raises:
            ReadModelUnavailable: the database can't be reached or is locked.
        """
        async with self._database.writing() as connection:
            # First of all, so that nobody folds anything in between.
            order = (positions.c.stream, positions.c.partition)
            await connection.execute(select(positions).order_by(*order).with_for_update())
            for table in (events, temp_keys, locks, parked):
                if self._database.is_sqlite:
                    await connection.execute(delete(table))
                else:
                    await connection.execute(text(f"TRUNCATE {table.name}"))
            await connection.execute(update(positions).values(**msgspec.structs.asdict(Position())))

    async def _lock_positions(
        self,
        connection: AsyncConnection,
        stream: str,
        stretches: Sequence[Stretch],
        *,
        gaps: bool = False,
    ) -> dict[int, Position]:
        wanted = sorted({stretch.partition for stretch in stretches})
        found = await connection.execute(
            select(positions)
            .where(positions.c.stream == stream, positions.c.partition.in_(wanted))
            .order_by(positions.c.partition)
            .with_for_update()
        )
        current = {row.partition: to_position(row) for row in found}
        reached = {p: at.next_offset for p, at in current.items()}
        for stretch in stretches:
            if stretch.partition not in current:
                raise ReadModelMoved(f"the read model has no partition {stretch.partition}")
            if stretch.begin > reached[stretch.partition] and not gaps:
                raise ReadModelMoved(
                    f"the read model is at {reached[stretch.partition]} of partition "
                    f"{stretch.partition}, and was to go on at {stretch.begin}"
                )
            reached[stretch.partition] = max(reached[stretch.partition], stretch.end)
        return current

    async def _write_rows(self, connection: AsyncConnection, rows: Rows) -> None:
        await self._insert(connection, locks, rows.locks, replace=True)
        await self._insert(connection, temp_keys, rows.temp_keys, replace=True)
        if rows.events:
            await connection.execute(events.insert(), rows.events)

    async def _insert(
        self, connection: AsyncConnection, table: Table, rows: list[Row], *, replace: bool
    ) -> None:
        """Rows whose key exists replace what is there, or are passed over."""
        if not rows:
            return
        dialect = sqlite if self._database.is_sqlite else postgresql
        statement = dialect.insert(table)
        keys = [column.name for column in table.primary_key]
        if replace:
            others = {
                c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys
            }
            await connection.execute(
                statement.on_conflict_do_update(index_elements=keys, set_=others), rows
            )
        else:
            await connection.execute(statement.on_conflict_do_nothing(index_elements=keys), rows)

    # -- queries -------------------------------------------------------------------------------

    async def positions(self, stream: str) -> dict[int, Position]:
        """How far each partition of the stream is folded in.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        async with self._database.reading() as connection:
            rows = await connection.execute(select(positions).where(positions.c.stream == stream))
            return {row.partition: to_position(row) for row in rows}

    async def lock(self, lock_id: int, partition: int) -> tuple[LockRow | None, Position]:
        """A lock, and how far its partition was folded in when it was looked up.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        async with self._database.reading() as connection:
            found = (await locks_by_id(connection, [lock_id])).get(lock_id)
            return found, await position_of(connection, LOCK_EVENTS, partition)

    async def known_lock_ids(self, lock_ids: Iterable[int]) -> set[int]:
        """Those of ``lock_ids`` that exist.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        async with self._database.reading() as connection:
            return set(await locks_by_id(connection, list(lock_ids)))

    async def events_of(
        self, lock_id: int, org_id: str, after_version: int, limit: int
    ) -> list[EventRow]:
        """A lock's events that were this organisation's, by version.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        query = (
            select(events)
            .where(
                events.c.lock_id == lock_id,
                events.c.version > after_version,
                events.c.org_id == org_id,
            )
            .order_by(events.c.version)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            return [to_event_row(row) for row in await connection.execute(query)]

    async def event(self, event_id: UUID) -> EventRow | None:
        """
        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        async with self._database.reading() as connection:
            row = (
                await connection.execute(
                    select(events).where(events.c.event_id == event_id.bytes).limit(1)
                )
            ).first()
            return to_event_row(row) if row is not None else None

    async def event_values(self, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
        """The stored values of the events with these ``(lock id, version)``.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        found: dict[tuple[int, int], bytes] = {}
        async with self._database.reading() as connection:
            for begin in range(0, len(pairs), CHUNK):
                query = select(events.c.lock_id, events.c.version, events.c.value).where(
                    tuple_(events.c.lock_id, events.c.version).in_(pairs[begin : begin + CHUNK])
                )
                for row in await connection.execute(query):
                    found[row.lock_id, row.version] = row.value
        return found

    async def count_parked(self) -> int:
        """How many facts are parked.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        async with self._database.reading() as connection:
            return int(await connection.scalar(select(func.count()).select_from(parked)) or 0)

    async def parked_fact(self, event_id: UUID) -> ParkedRow | None:
        """The latest parked fact with this event id.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        query = (
            select(parked)
            .where(parked.c.event_id == event_id.bytes)
            .order_by(parked.c.offset.desc())
            .limit(1)
        )
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        return ParkedRow(row.lock_id, row.org_id, row.reason, row.detail, row.source_offset)

    async def known(
        self,
        partition: int,
        lock_ids: Sequence[int],
        temp_keys_used: Sequence[tuple[int, str]],
        event_ids: Sequence[UUID],
    ) -> Known:
        """What the projector needs to decide on a batch, in one consistent view.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        async with self._database.reading() as connection:
            return Known(
                position=await position_of(connection, LOCK_EVENTS, partition),
                locks=await locks_by_id(connection, lock_ids),
                used_counts=await used_counts_of(connection, temp_keys_used),
                event_ids=await existing_event_ids(connection, event_ids),
            )
