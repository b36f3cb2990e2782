"""Opens the read model's database: SQLite or PostgreSQL, the same to everybody above."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

from sqlalchemy import URL, Connection, Index, inspect, text
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from read_model.postgresql import PostgresqlConnections
from read_model.sqlite import SqliteConnections
from read_model.tables import EMPTIED, metadata
from read_model.urls import check_file, make_place, read_url
from runtime.errors import ConfigurationError, ReadModelUnavailable, StreamViolation
from runtime.settings import Settings

T = TypeVar("T")

SCHEMA_ATTEMPTS = 5
_HOLD = text(f"LOCK TABLE {', '.join(table.name for table in EMPTIED)} IN ACCESS SHARE MODE")
BAD_DATA = ("22", "23")
"""SQLSTATE classes: data exception, integrity constraint violation."""


def read_model_url(settings: Settings) -> URL:
    """Returns the configured URL with the driver that we use, or that of a SQLite file in the state
    folder.

    Raises:
        ConfigurationError: not a URL, or another kind of database.
    """
    if settings.read_model_url:
        return read_url(settings.read_model_url)
    file = (settings.state_dir / "read_model.db").absolute()
    return URL.create("sqlite+pysqlite", database=str(file))


class Connections(Protocol):
    async def write(self, work: Callable[[Connection], T]) -> T: ...

    async def read(self, work: Callable[[Connection], T]) -> T: ...

    async def close(self) -> None: ...


class Database:
    """Runs transactions. They are functions over a connection, and run where the database wants
    them to."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._file: tuple[int, int] | None = None
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._connections: Connections = (
            SqliteConnections(url, timeout_s)
            if self.is_sqlite
            else PostgresqlConnections(url, timeout_s)
        )

    async def reopen_if_replaced(self) -> bool:
        """Returns whether our SQLite file is gone or another one stands in its place. If so,
        connections to the old one are closed: what they'd write would be in no file."""
        if not self.is_sqlite or self._file is None:
            return False
        if self._file == await asyncio.to_thread(self._identify_file):
            return False
        await self._connections.close()
        return True

    def _identify_file(self) -> tuple[int, int] | None:
        try:
            found = os.stat(str(self._url.database))
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    async def prepare(self) -> None:
        """Makes tables and indexes where they are missing. Several roles may do so at once.

        Raises:
            ReadModelUnavailable: the database can't be reached.
            ConfigurationError: there can be none at its place.
        """
        if self.is_sqlite:
            await asyncio.to_thread(make_place, self._url)
        # Looked at first: another replica may be paused with the lock on writing.
        if not await self._read(_is_complete):
            await self._create_tables()
        if self.is_sqlite:
            self._file = await asyncio.to_thread(self._identify_file)

    async def require(self) -> None:
        """Looks whether there is a read model, and makes nothing.

        Raises:
            ReadModelUnavailable: the database can't be reached.
            ConfigurationError: there is none at its place.
        """
        if self.is_sqlite:
            await asyncio.to_thread(check_file, self._url)
            if await asyncio.to_thread(self._identify_file) is None:
                raise ConfigurationError(
                    f"READ_MODEL_URL: there is no read model at {self._url.database}; name the one "
                    "that the projector writes"
                )
        if not await self._read(_has_tables):
            raise ConfigurationError(
                "READ_MODEL_URL: that database holds no read model; name the one that the "
                "projector writes"
            )
        if self.is_sqlite:
            self._file = await asyncio.to_thread(self._identify_file)

    async def _create_tables(self) -> None:
        for attempt in range(1, SCHEMA_ATTEMPTS + 1):
            try:
                await self.write(_create_what_is_missing)
            except (ReadModelUnavailable, StreamViolation):
                # Two that create the same table at once: one of them is refused.
                if attempt == SCHEMA_ATTEMPTS:
                    raise
                await asyncio.sleep(0.1 * attempt)
            else:
                return

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` in a write transaction: committed when it returns, rolled back when it
        raises. After a cancellation it may have been either; the next write begins after it.

        Raises:
            ReadModelUnavailable: the database can't be reached, is locked or full, or too slow.
            StreamViolation: it refuses a row.
        """
        with _read_model_errors():
            return await self._connections.write(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` in a read transaction: in one view, of before or after an emptying.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        return await self._read(work if self.is_sqlite else partial(_held, work))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        with _read_model_errors():
            async with asyncio.timeout(self._timeout_s):
                return await self._connections.read(work)

    async def close(self) -> None:
        await self._connections.close()


def _held(work: Callable[[Connection], T], connection: Connection) -> T:
    """Runs ``work`` beside no emptying. PostgreSQL's TRUNCATE is not MVCC-safe: who took a
    snapshot before it finds the tables empty after it, beside positions of before. This is the
    one statement that can wait for it without taking a snapshot, and TRUNCATE waits for whoever
    has got past it."""
    connection.execute(_HOLD)
    return work(connection)


def _has_tables(connection: Connection) -> bool:
    return metadata.tables.keys() <= set(inspect(connection).get_table_names())


def _is_complete(connection: Connection) -> bool:
    """Returns whether all is there. A database of an earlier version has the tables, but not each
    index of today."""
    if not _has_tables(connection):
        return False
    found = inspect(connection).get_multi_indexes().values()
    return _indexes().keys() <= {index["name"] for indexes in found for index in indexes}


def _create_what_is_missing(connection: Connection) -> None:
    metadata.create_all(connection)
    for index in _indexes().values():
        index.create(connection, checkfirst=True)


def _indexes() -> dict[str | None, Index]:
    return {index.name: index for table in metadata.tables.values() for index in table.indexes}


@contextmanager
def _read_model_errors() -> Iterator[None]:
    """Turns the drivers' errors and time-outs into ``ReadModelUnavailable``."""
    try:
        yield
    except (DataError, IntegrityError, OverflowError, UnicodeError) as error:
        # To try again is no use: what is to be written does not fit.
        raise StreamViolation(f"the read model refuses a row: {_first_line(error)}") from error
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        if _sql_state(error).startswith(BAD_DATA):
            # asyncpg's data errors come as errors of no kind: a null character in a text, say.
            raise StreamViolation(f"the read model refuses a row: {_first_line(error)}") from error
        raise ReadModelUnavailable(f"the read model: {_first_line(error)}") from error


def _sql_state(error: Exception) -> str:
    """Returns PostgreSQL's code, or nothing."""
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
