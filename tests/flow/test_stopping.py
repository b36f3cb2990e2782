"""SIGTERM under load: no answer is lost that was promised, no transaction stays open."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog.kafka import Kafka, stable_ends
from eventlog.local.local_broker import LocalBroker
from runtime.ports import free_port
from runtime.settings import Settings
from schemas.lock_events import TempKeyUsedEvent, decode_event
from tests.flow.conftest import RunningSystem
from tests.flow.openings import Openings
from tests.integration.kafka_tools import eventually, read_all

pytestmark = pytest.mark.timeout(240)
PARTITIONS = 12


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """One that stays when the services stop."""
    running = LocalBroker.start(tmp_path / "broker", port=free_port(0))
    yield running
    running.stop()


async def test_an_orderly_stop_under_load_loses_no_answer_and_leaves_no_open_transaction(
    broker: LocalBroker, tmp_path: Path
) -> None:
    system = RunningSystem(
        tmp_path / "state", {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    )
    await asyncio.to_thread(system.start)
    kafka = Kafka(Settings(kafka_bootstrap_servers=broker.bootstrap_servers), "test")
    openings = Openings(system.env)
    calling = asyncio.create_task(openings.run())
    try:
        for role in ("API", "PROJECTOR", "API", "FANOUT", "API"):
            await openings.until_further(50)
            before = system.env[f"{role}_PID"]
            os.kill(int(before), signal.SIGTERM)

            async def started_again(role: str = role, before: str = before) -> bool:
                return system.env[f"{role}_PID"] not in ("", before)

            await eventually(started_again)
        await openings.until_further(50)
        # Everything at once, while commands still come.
        assert await asyncio.to_thread(system.stop, signal.SIGTERM) == 0
    finally:
        openings.finish()
        await calling
        system.end()
    await check_nothing_is_left_open(kafka)
    await check_answers(kafka, openings)


async def check_nothing_is_left_open(kafka: Kafka) -> None:
    """Nobody is there any more to fence a transaction that was left behind."""
    numbers = list(range(PARTITIONS))
    for topic in ("lock-events", "lock-facts.parked", "partner.demo-partner.lock-events"):
        async with kafka.offsets_client() as client:
            ends = await client.high_watermarks(topic, numbers)
        assert await stable_ends(kafka, topic, numbers) == ends


async def check_answers(kafka: Kafka, openings: Openings) -> None:
    versions: dict[str, int] = {}
    for record in await read_all(kafka, "lock-events", PARTITIONS):
        event = decode_event(record.value or b"")
        if isinstance(event, TempKeyUsedEvent):
            versions[event.data.temp_key_uuid] = event.version
    assert openings.answered.items() <= versions.items()
    assert openings.cut == []
