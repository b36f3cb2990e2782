"""The read model's database: SQLite or PostgreSQL, the same to everybody above."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import URL, Connection, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, SQLAlchemyError

from lockstream.read_model.postgresql import PostgresqlConnections
from lockstream.read_model.sqlite import SqliteConnections
from lockstream.read_model.tables import EMPTIED, metadata
from lockstream.runtime.errors import ConfigurationError, ReadModelUnavailable, StreamViolation
from lockstream.runtime.settings import Settings

T = TypeVar("T")

_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+asyncpg"}
SCHEMA_ATTEMPTS = 5
_HOLD = text(f"LOCK TABLE {', '.join(table.name for table in EMPTIED)} IN ACCESS SHARE MODE")


def read_model_url(settings: Settings) -> URL:
    """The configured URL with the driver that we use; a SQLite file in the state folder without.

    Raises:
        ConfigurationError: not a URL, or another kind of database.
    """
    given = settings.read_model_url
    if not given:
        file = (settings.state_dir / "read_model.db").absolute()
        return URL.create(_DRIVERS["sqlite"], database=str(file))
    try:
        url = make_url(given)
    except ArgumentError as error:
        raise ConfigurationError(
            "READ_MODEL_URL: not a URL; give sqlite:///file or postgresql://user:password@host/name"
        ) from error
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise ConfigurationError(
            f"READ_MODEL_URL: {url.get_backend_name()} is not supported; use sqlite or postgresql"
        )
    return url.set(drivername=driver)


class Connections(Protocol):
    async def write(self, work: Callable[[Connection], T]) -> T: ...

    async def read(self, work: Callable[[Connection], T]) -> T: ...

    async def close(self) -> None: ...


class Database:
    """Transactions are functions over a connection: they run where the database wants them to."""

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
        """Whether our SQLite file is gone or another one stands in its place. If so, connections
        to the old one are closed: what they'd write would be in no file."""
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
        """Makes the tables where they are missing. Several roles may do so at once.

        Raises:
            ReadModelUnavailable: the database can't be reached.
        """
        if self.is_sqlite and self._url.database not in (None, "", ":memory:"):
            folder = Path(str(self._url.database)).parent
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        # Looked at first: another replica may be paused with the lock on writing.
        if not await self._read(_has_tables):
            await self._create_tables()
        if self.is_sqlite:
            self._file = await asyncio.to_thread(self._identify_file)

    async def _create_tables(self) -> None:
        for attempt in range(1, SCHEMA_ATTEMPTS + 1):
            try:
                await self.write(metadata.create_all)
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
        """Runs ``work`` in a read transaction: one consistent view, of before or after an emptying.

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
    """PostgreSQL's TRUNCATE is not MVCC-safe: who took a snapshot before it finds the tables empty
    after it, beside positions of before. This is the one statement that can wait for it without
    taking a snapshot, and TRUNCATE waits for whoever has got past it."""
    connection.execute(_HOLD)
    return work(connection)


def _has_tables(connection: Connection) -> bool:
    return metadata.tables.keys() <= set(inspect(connection).get_table_names())


@contextmanager
def _read_model_errors() -> Iterator[None]:
    """Turns the drivers' errors and time-outs into ``ReadModelUnavailable``."""
    try:
        yield
    except (DataError, IntegrityError) as error:
        # To try again is no use: what is to be written does not fit.
        raise StreamViolation(f"the read model refuses a row: {_first_line(error)}") from error
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        raise ReadModelUnavailable(f"the read model: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
