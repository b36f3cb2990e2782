"""When a key was used last is not forgotten because it could not be written."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from command_api import api_key_uses
from command_api.api_key_uses import ApiKeyUses
from eventlog.kafka import Kafka
from eventlog.registry import Registry
from runtime.ports import free_port
from runtime.settings import Settings

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


async def test_a_use_during_a_write_that_fails_is_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_key_uses, "WRITE_TIMEOUT_S", 0.1)
    nobody = Settings(kafka_bootstrap_servers=f"127.0.0.1:{free_port(0)}")
    uses = ApiKeyUses(Kafka(nobody, "test"), "registry", Registry())
    uses.note("key", NOW)
    uses.note("quiet", NOW)
    writing = asyncio.create_task(uses._write())
    await asyncio.sleep(0)
    uses.note("key", NOW + timedelta(minutes=2))
    await writing
    assert uses._latest == {"key": NOW + timedelta(minutes=2), "quiet": NOW}
