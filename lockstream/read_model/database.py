"""Opening the read model's database: SQLite or PostgreSQL, the same to everybody above."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from lockstream.read_model.tables import metadata
from lockstream.runtime.errors import ConfigurationError, ReadModelUnavailable, StreamViolation
from lockstream.runtime.settings import Settings

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
SCHEMA_ATTEMPTS = 5


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


class Database:
    """Two pools: one connection that writes, some that read."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._file: tuple[int, int] | None = None
        self._writer = self._engine(pool_size=1, writes=True)
        self._readers = self._engine(pool_size=4, writes=False)

    def _engine(self, *, pool_size: int, writes: bool) -> AsyncEngine:
        options: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": self._timeout_s,
        }
        if not self.is_sqlite:
            options["pool_pre_ping"] = True
            options["connect_args"] = {
                "timeout": self._timeout_s,
                "command_timeout": self._timeout_s,
                # A process that is paused inside a transaction must not hold up its successor.
                "server_settings": {
                    "idle_in_transaction_session_timeout": str(int(self._timeout_s * 1000)),
                    "lock_timeout": str(int(self._timeout_s * 1000)),
                },
            }
            return create_async_engine(self._url, **options)
        engine = create_async_engine(self._url, **options)
        begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        timeout_ms = int(self._timeout_s * 1000)

        @event.listens_for(engine.sync_engine, "connect")
        def configure(connection: Any, _: object) -> None:
            # The driver's own implicit BEGIN comes too late to lock for writing.
            connection.isolation_level = None
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={timeout_ms}")
            cursor.execute("PRAGMA journal_mode=WAL")
            # A power cut may lose the last rows, never corrupt: the log has them.
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute("PRAGMA cache_size=-65536")
            cursor.close()

        @event.listens_for(engine.sync_engine, "begin")
        def begin_explicitly(connection: Any) -> None:
            connection.exec_driver_sql(begin)

        return engine

    async def reopen_if_replaced(self) -> bool:
        """Whether our SQLite file is gone or another one stands in its place. If so, connections
        to the old one are closed: what they'd write would be in no file."""
        if not self.is_sqlite or self._file is None:
            return False
        if self._file == await asyncio.to_thread(self._identify_file):
            return False
        await self._writer.dispose()
        await self._readers.dispose()
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
        if not await self._has_tables():
            await self._create_tables()
        if self.is_sqlite:
            self._file = await asyncio.to_thread(self._identify_file)

    async def _has_tables(self) -> bool:
        async with self.reading() as connection:
            found = await connection.run_sync(lambda c: inspect(c).get_table_names())
        return metadata.tables.keys() <= set(found)

    async def _create_tables(self) -> None:
        for attempt in range(1, SCHEMA_ATTEMPTS + 1):
            try:
                async with self.writing() as connection:
                    await connection.run_sync(metadata.create_all)
            except (ReadModelUnavailable, StreamViolation):
                # Two that create the same table at once: one of them is refused.
                if attempt == SCHEMA_ATTEMPTS:
                    raise
                await asyncio.sleep(0.1 * attempt)
            else:
                return

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction, committed at the end.

        Raises:
            ReadModelUnavailable: the database can't be reached, is locked or full, or too slow.
        """
        with _read_model_errors():
            async with self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A read transaction: one consistent view.

        Raises:
            ReadModelUnavailable: the database can't be reached or is too slow.
        """
        with _read_model_errors():
            async with asyncio.timeout(self._timeout_s), self._readers.connect() as connection:
                if not self.is_sqlite:
                    await connection.execute(
                        text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    )
                yield connection

    async def close(self) -> None:
        await self._writer.dispose()
        await self._readers.dispose()


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
