"""Who follows a topic that retention passes is told so, and goes on with nothing."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from eventlog.kafka import Kafka
from eventlog.records import Output, Record
from eventlog.tail import Tail
from eventlog.transactional_writer import TransactionalWriter
from operations.organizations.signing import ensure_signing_key, local_issuer
from operations.running.probes import ask
from read_model.fold import Stretch
from runtime.errors import PositionLost
from runtime.issuers import write_issuers
from runtime.ports import free_port
from runtime.settings import Settings, variable_of
from tests.integration.conftest import open_read_model
from tests.integration.kafka_tools import delete_records, end_of
from tests.integration.roles import install

READY_S = 90.0


@pytest.fixture
def serving(settings: Settings) -> Settings:
    """With what an API needs besides."""
    ensure_signing_key(settings.state_dir)
    issuers = write_issuers([local_issuer(settings.state_dir)])
    return msgspec.structs.replace(settings, api_port=free_port(0), jwt_issuers=issuers)


@asynccontextmanager
async def api(settings: Settings) -> AsyncIterator[Process]:
    """A process of its own, which ends with the context."""
    chosen = [
        *("kafka_bootstrap_servers", "topic_prefix", "partitions", "state_dir"),
        *("api_port", "jwt_issuers"),
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "operations", "api",
        env={**os.environ, **{variable_of(name): str(getattr(settings, name)) for name in chosen}},
        stderr=PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def write(kafka: Kafka, settings: Settings, *values: bytes) -> None:
    """Each in a transaction of its own."""
    writer = await TransactionalWriter.fence(kafka, f"{settings.topic_prefix}w")
    for value in values:
        await writer.write({0: [Output(settings.topics.lock_events, b"7", value)]})
    await writer.discard()


async def retain_from(kafka: Kafka, settings: Settings, offset: int) -> None:
    await delete_records(kafka, settings.topics.lock_events, 0, offset)


class Overtaken(Tail):
    """Between two of its polls, retention goes on."""

    before_poll: Callable[[], Awaitable[None]] | None = None

    async def _poll(self, consumer: Any) -> None:
        if self.caught_up.is_set() and self.before_poll is not None:
            await self.before_poll()
            self.before_poll = None
        await super()._poll(consumer)


async def test_a_tail_that_retention_passes_ends_and_says_where(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    await write(kafka, settings, b"seen")
    topic = settings.topics.lock_events
    seen: list[bytes | None] = []

    def take(_: str, records: Sequence[Record]) -> None:
        seen.extend(record.value for record in records)

    async def pass_by() -> None:
        await write(kafka, settings, b"fetched already", b"deleted", b"left")
        await retain_from(kafka, settings, await end_of(kafka, topic, 0) - 2)

    tail = Overtaken(kafka, {topic: {0: 0}}, take)
    tail.before_poll = pass_by
    async with asyncio.timeout(READY_S):
        with pytest.raises(PositionLost, match=rf"{topic}\[0\] from offset \d+ was .*retention"):
            await tail.run(asyncio.Event())
    # Nothing is passed over in silence.
    assert seen in ([b"seen"], [b"seen", b"fetched already"])


async def test_an_api_does_not_serve_while_the_stream_lacks_what_its_read_model_lacks(
    kafka: Kafka, settings: Settings, serving: Settings
) -> None:
    """It ends with the reason, for its supervisor to start it again; once the read model holds what
    retention has deleted, it serves."""
    await install(kafka, settings)
    await write(kafka, settings, b"deleted", b"left")
    await retain_from(kafka, settings, 2)
    async with asyncio.timeout(READY_S), api(serving) as process:
        _, logged = await process.communicate()
    assert process.returncode == 1
    topic = settings.topics.lock_events
    assert f"api stops: {topic}[0] from offset 0 was to be followed" in logged.decode()
    await fold_up_to(settings, await end_of(kafka, topic, 0))
    async with asyncio.timeout(READY_S), api(serving):
        await until_ready(f"http://127.0.0.1:{serving.api_port}")


async def fold_up_to(settings: Settings, end: int) -> None:
    model = open_read_model(settings)
    await model.prepare()
    await model.apply([Stretch(0, 0, end)])
    await model.close()


async def until_ready(page: str) -> None:
    while not (await asyncio.to_thread(ask, page)).ready:  # noqa: ASYNC110 - it is another's
        await asyncio.sleep(0.05)
