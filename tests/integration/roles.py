"""Running the real roles inside a test's event loop, and stopping them in order or abruptly."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec

from eventlog.kafka import Kafka
from eventlog.registry import write_entries
from eventlog.topic_setup import ensure_installation, ensure_topics
from runtime.settings import Settings
from schemas.registry import Partner
from schemas.topic_configs import partner_topic
from tests.examples_of import TIME

RunRole = Callable[[Settings, asyncio.Event], Awaitable[None]]


class Role:
    """A role that is running. Its end is awaited by whoever stops it."""

    def __init__(self, run: RunRole, settings: Settings) -> None:
        self._stop = asyncio.Event()
        self.task = asyncio.ensure_future(run(settings, self._stop))

    async def stop(self) -> None:
        """As SIGTERM would."""
        self._stop.set()
        async with asyncio.timeout(30):
            await self.task

    async def abandon(self) -> None:
        """Nothing is drained or committed: the nearest to SIGKILL inside one process."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@asynccontextmanager
async def running(run: RunRole, settings: Settings, instance: str = "") -> AsyncIterator[Role]:
    role = Role(run, msgspec.structs.replace(settings, instance_id=instance))
    try:
        yield role
        if not role.task.done():
            await role.stop()
    finally:
        if not role.task.done():
            await role.abandon()


async def install(kafka: Kafka, settings: Settings) -> None:
    await ensure_installation(kafka, settings)


async def add_partner(
    kafka: Kafka,
    settings: Settings,
    partner_id: str = "crm",
    org_id: str = "acme",
    types: tuple[str, ...] = ("*",),
    start_offsets: tuple[int, ...] | None = None,
    status: str = "active",
) -> Partner:
    entry = Partner(
        id=partner_id,
        org_id=org_id,
        types=types,
        start_offsets=start_offsets or (0,) * settings.partitions,
        created_at=TIME,
        status=status,  # type: ignore[arg-type]
    )
    await ensure_topics(kafka, settings, [partner_topic(settings.topics, partner_id)])
    await write_entries(kafka, settings.topics.registry, [entry])
    return entry
