"""Changes the tables, over an open connection that may write."""

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Insert, Table, and_, bindparam, delete, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import Executable

from read_model.fold import Row, Rows
from read_model.key_lists import KeyLists
from read_model.queries import to_position
from read_model.rows import Position
from read_model.tables import (
    EMPTIED,
    events,
    generations,
    locks,
    parked,
    positions,
    temp_keys,
)


class Changes:
    """Writes rows, positions and generations. The statements are made once."""

    def __init__(self, keys: KeyLists, *, is_sqlite: bool) -> None:
        self._keys = keys
        self._put_locks = _bulk(
            _upsert(locks, is_sqlite=is_sqlite, replace=True), is_sqlite=is_sqlite
        )
        self._put_temp_keys = _bulk(
            _upsert(temp_keys, is_sqlite=is_sqlite, replace=True), is_sqlite=is_sqlite
        )
        self._insert_events = events.insert()
        self._insert_in_order = (
            str(self._insert_events.compile(dialect=sqlite.dialect(paramstyle="qmark")))
            if is_sqlite
            else None
        )
        self._add_parked = _upsert(parked, is_sqlite=is_sqlite, replace=False)
        self._add_positions = _upsert(positions, is_sqlite=is_sqlite, replace=False)
        self._begin_generation = _upsert(generations, is_sqlite=is_sqlite, replace=False)
        in_order = select(positions).order_by(positions.c.stream, positions.c.partition)
        self._hold_all = in_order.with_for_update()
        self._hold_some = in_order.where(
            positions.c.stream == bindparam("stream"), keys.holds(positions.c.partition)
        ).with_for_update()
        self._move = (
            update(positions)
            .where(
                and_(
                    positions.c.stream == bindparam("of_stream"),
                    positions.c.partition == bindparam("of_partition"),
                )
            )
            .values({name: bindparam(name) for name in Position.__struct_fields__})
        )
        self._empty: list[Executable] = (
            [delete(table) for table in EMPTIED]
            if is_sqlite
            else [text(f"TRUNCATE {', '.join(table.name for table in EMPTIED)}")]
        )
        self._begin_anew = update(positions).values(**msgspec.structs.asdict(Position()))

    def hold_positions(
        self, connection: Connection, stream: str, partitions: Sequence[int]
    ) -> dict[int, Position]:
        """Returns these positions, which nobody else moves before this transaction ends."""
        rows = connection.execute(
            self._hold_some, {"stream": stream, **self._keys.numbers(partitions)}
        )
        return {row.partition: to_position(row) for row in rows}

    def write_positions(
        self, connection: Connection, stream: str, current: Mapping[int, Position]
    ) -> None:
        rows = [
            {"of_stream": stream, "of_partition": partition, **msgspec.structs.asdict(at)}
            for partition, at in current.items()
        ]
        _execute(connection, self._move, rows)

    def write_rows(self, connection: Connection, rows: Rows) -> None:
        _execute(connection, self._put_locks, rows.locks)
        _execute(connection, self._put_temp_keys, rows.temp_keys)
        if self._insert_in_order is None:
            names = events.columns.keys()
            named: list[Row] = [dict(zip(names, row, strict=True)) for row in rows.events]
            _execute(connection, self._insert_events, named)
        elif rows.events:
            connection.exec_driver_sql(self._insert_in_order, rows.events)

    def add_parked(self, connection: Connection, rows: list[Row]) -> None:
        _execute(connection, self._add_parked, rows)

    def add_positions(self, connection: Connection, rows: list[Row]) -> None:
        _execute(connection, self._add_positions, rows)

    def begin_generation(self, connection: Connection, number: int) -> None:
        """Writes the first generation of a database; one that is there stays."""
        _execute(connection, self._begin_generation, [{"only": 1, "number": number}])

    def empty(self, connection: Connection, generation: int) -> None:
        # The positions first of all, so that nobody folds anything in between.
        connection.execute(self._hold_all)
        for statement in self._empty:
            connection.execute(statement)
        connection.execute(self._begin_anew)
        connection.execute(update(generations).values(number=generation))


def _execute(connection: Connection, statement: Executable | str, rows: list[Row]) -> None:
    """Executes a statement once for each row. Without a row it is left out: it would mean a row of
    nothing."""
    if not rows:
        return
    if isinstance(statement, str):
        connection.exec_driver_sql(statement, rows)
    else:
        connection.execute(statement, rows)


def _bulk(statement: Insert, *, is_sqlite: bool) -> Executable | str:
    """Makes a statement fit for thousands of rows. SQLite's driver finds a row's values by their
    names as they stand, where SQLAlchemy would first put those of each row in order."""
    if not is_sqlite:
        return statement
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="named")))


def _upsert(table: Table, *, is_sqlite: bool, replace: bool) -> Insert:
    """Makes a statement for rows that replace what has their key, or are passed over if something
    has."""
    dialect = sqlite if is_sqlite else postgresql
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    others = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
    upsert: Insert = (
        statement.on_conflict_do_update(index_elements=keys, set_=others)
        if replace
        else statement.on_conflict_do_nothing(index_elements=keys)
    )
    return upsert
