"""Starting and stopping clients, on a real broker."""

import asyncio
from contextlib import suppress

from eventlog.kafka import Kafka

STEPS = 60
STEP_S = 0.0002


async def test_a_start_that_is_cancelled_anywhere_leaves_no_connection_behind(kafka: Kafka) -> None:
    """What is left behind fails the test when it is collected: see ``tests/guards.py``."""
    for step in range(STEPS):
        client = kafka.idempotent_producer()
        starting = asyncio.create_task(client.start("connecting"))
        await asyncio.wait((starting,), timeout=step * STEP_S)
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
            await client.stop()
