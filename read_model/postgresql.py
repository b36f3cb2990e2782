"""Keeps PostgreSQL's connections. Everything runs in the event loop."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from read_model.urls import postgresql_options

T = TypeVar("T")


class PostgresqlConnections:
    """Keeps two pools: one connection that writes, some that read."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._options = postgresql_options(url)
        self._writer = self._engine(1, "READ COMMITTED")
        self._readers = self._engine(4, "REPEATABLE READ")

    def _engine(self, connections: int, isolation: str) -> AsyncEngine:
        timeout_ms = str(int(self._timeout_s * 1000))
        options = self._options
        chosen = {"ssl": options.tls, "target_session_attrs": options.session}
        return create_async_engine(
            self._url.set(query={}),
            isolation_level=isolation,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=self._timeout_s,
            pool_pre_ping=True,
            connect_args={
                **{name: value for name, value in chosen.items() if value is not None},
                "timeout": options.connect_timeout_s or self._timeout_s,
                "command_timeout": self._timeout_s,
                # A process that is paused inside a transaction must not hold up its successor.
                "server_settings": {
                    **options.server_settings,
                    "idle_in_transaction_session_timeout": timeout_ms,
                    "lock_timeout": timeout_ms,
                },
            },
        )

    async def write(self, work: Callable[[Connection], T]) -> T:
        async with self._writer.begin() as connection:
            return await connection.run_sync(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        async with self._readers.connect() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        await self._writer.dispose()
        await self._readers.dispose()
