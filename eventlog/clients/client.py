"""All clients are started and stopped in the same way, each in a limited time."""

import asyncio
import logging
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self

from eventlog import aiokafka_internals as internals
from eventlog.clients.connections import Connections
from eventlog.kafka_errors import KafkaError, errors, kafka_errors
from runtime.waiting import within

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10.0
START_GRACE_S = 0.5


class Client:
    """Wraps a client of aiokafka's, which has no types. A context manager starts and stops it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.connections = Connections(internals.connections_of(client))

    async def start(self, doing: str, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Connects; a client that can't start is closed again. ``doing``: what for, in the error.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
            KafkaRefused: it can, and does not let us in.
        """
        starting = asyncio.ensure_future(self._begin())
        try:
            with kafka_errors(doing):
                try:
                    await within(asyncio.shield(starting), timeout_s)
                except errors.KafkaConnectionError:
                    await self.connections.look_into_refusal()
                    raise
                # Lets its tasks begin: starting may have made no turn of the loop, and a
                # consumer can't be stopped whose task was cancelled before its first step.
                await asyncio.sleep(0)
        except BaseException:
            await _end_start(starting)
            await self.stop()
            raise

    async def stop(self, timeout_s: float = 3.0) -> None:
        """Stops, by force if that takes too long: a producer first waits for a broker that may
        never come back."""
        try:
            await within(self._end(), timeout_s)
        except (TimeoutError, KafkaError) as error:
            log.debug("client did not stop in order: %r", error)
            await self._close_by_force()

    def _begin(self) -> Awaitable[None]:
        begin: Awaitable[None] = self._client.start()
        return begin

    def _end(self) -> Awaitable[None]:
        end: Awaitable[None] = self._client.stop()
        return end

    async def _close_by_force(self) -> None:
        task = internals.sender_task(self._client)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=1.0)
        await asyncio.wait((asyncio.ensure_future(self.connections.close()),), timeout=1.0)

    async def __aenter__(self) -> Self:
        await self.start("connecting to Kafka")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


async def _end_start(starting: "asyncio.Future[None]") -> None:
    """Gives a start a moment to end by itself. A start that is cancelled amid its first request
    forgets a connection that it has opened, and nobody can close it."""
    if not starting.done():
        await asyncio.wait((starting,), timeout=START_GRACE_S)
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,), timeout=START_GRACE_S)
    if starting.done() and not starting.cancelled():
        starting.exception()
