"""Keeps SQLite's connections. A transaction is one function in one thread: an event loop that asked
for statement after statement would change threads several times for each."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event

T = TypeVar("T")

READING_THREADS = 4


class SqliteConnections:
    """Has one thread with a connection that writes, and some that read. Threads begin with the
    first transaction."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._writer, self._readers = self._lanes()

    def _lanes(self) -> tuple["_Lane", "_Lane"]:
        return (
            _Lane(self._engine("BEGIN IMMEDIATE", 1), 1, "read-model-writer"),
            _Lane(self._engine("BEGIN", READING_THREADS), READING_THREADS, "read-model-reader"),
        )

    def _engine(self, begin: str, connections: int) -> Engine:
        engine = create_engine(
            self._url, pool_size=connections, max_overflow=0, pool_timeout=self._timeout_s
        )
        timeout_ms = int(self._timeout_s * 1000)

        @event.listens_for(engine, "connect")
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

        @event.listens_for(engine, "begin")
        def begin_explicitly(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._writer.run(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._readers.run(work)

    async def close(self) -> None:
        """Closes the file; whatever is asked for from now on opens it anew."""
        closing = self._writer, self._readers
        self._writer, self._readers = self._lanes()
        for lane in closing:
            await lane.close()


class _Lane:
    """Has as many connections as threads, so no thread waits for a connection."""

    def __init__(self, engine: Engine, threads: int, name: str) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Runs ``work`` in a thread. Whoever is cancelled here leaves a transaction that has begun
        to its thread, which ends it before it begins another; one that has not begun never will."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._transaction, work)

    def _transaction(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    async def close(self) -> None:
        """Waits for what has been asked for. A lock holds it up for the busy time-out at most."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown()
        self._engine.dispose()
