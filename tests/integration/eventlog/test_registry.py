"""Editing the registry while others do, and noting the uses of keys in it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import PolicyViolationError

from command_api import api_key_uses
from command_api.api_key_uses import ApiKeyUses, news_of
from eventlog.kafka import Kafka
from eventlog.registry import (
    Registry,
    edit_registry,
    edit_registry_held,
    read_registry,
    registry_tail,
    write_entries,
)
from runtime.errors import ConfigurationError
from runtime.ports import free_port
from runtime.settings import Settings
from schemas.primitives import write_time
from schemas.registry import ApiKey, ApiKeyUse, Partner
from tests.examples_of import TIME, registry_of
from tests.integration.kafka_tools import delete_records, eventually, read_all
from tests.integration.roles import install

KEY = ApiKey(key_id="abcDEF123456", org_id="acme", sha256="5e" * 32, created_at=TIME)
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


async def test_editors_at_the_same_time_lose_nothing_of_each_other(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    topic = settings.topics.registry
    partner = Partner(id="crm", org_id="acme", types=(), start_offsets=(), created_at=TIME)
    await write_entries(kafka, topic, [partner])

    def adding(word: str) -> Callable[[Registry], Sequence[Partner]]:
        def edit(registry: Registry) -> Sequence[Partner]:
            entry = registry.partner("crm")
            assert entry is not None
            types = dict.fromkeys((*entry.types, word))
            return [msgspec.structs.replace(entry, types=tuple(types))]

        return edit

    words = [f"type-{i}" for i in range(6)]
    for pair in (words[:2], words[2:4], words[4:]):
        await asyncio.gather(*(edit_registry(kafka, topic, adding(word)) for word in pair))
    edited = (await read_registry(kafka, topic)).partner("crm")
    assert edited is not None
    assert set(edited.types) == set(words)


async def test_an_edit_that_is_refused_writes_nothing_and_hinders_nobody(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    topic = settings.topics.registry

    def refuse(registry: Registry) -> Sequence[ApiKey]:
        raise ConfigurationError("no")

    with pytest.raises(ConfigurationError):
        await edit_registry(kafka, topic, refuse)
    assert await edit_registry(kafka, topic, lambda registry: [KEY]) == [KEY]
    assert [record.key for record in await read_all(kafka, topic, 1)] == [b"key/abcDEF123456"]


async def test_a_held_edit_that_others_fence_begins_again_with_what_they_wrote(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    topic = settings.topics.registry
    revoked = msgspec.structs.replace(KEY, revoked_at=TIME)
    await write_entries(kafka, topic, [KEY])
    seen: list[ApiKey | None] = []

    def hold(registry: Registry) -> Sequence[ApiKey]:
        seen.append(registry.api_key(KEY.key_id))
        return [KEY]

    async def edit(registry: Registry) -> Sequence[ApiKey]:
        if len(seen) == 1:
            await edit_registry(kafka, topic, lambda now: [revoked])
        entry = registry.api_key(KEY.key_id)
        assert entry is not None
        return [msgspec.structs.replace(entry, not_after=TIME)]

    (written,) = await edit_registry_held(kafka, topic, hold, edit)
    assert seen == [KEY, revoked]
    assert written == msgspec.structs.replace(revoked, not_after=TIME)
    assert (await read_registry(kafka, topic)).api_key(KEY.key_id) == written


async def test_a_held_edit_that_holds_nothing_or_fails_leaves_the_registry_free(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    topic = settings.topics.registry
    await write_entries(kafka, topic, [KEY])

    async def refuse(registry: Registry) -> Sequence[ApiKey]:
        raise ConfigurationError("no")

    assert await edit_registry_held(kafka, topic, lambda registry: [], refuse) == []
    with pytest.raises(ConfigurationError, match="no"):
        await edit_registry_held(kafka, topic, lambda registry: [KEY], refuse)
    async with asyncio.timeout(5):
        assert (await read_registry(kafka, topic)).api_key(KEY.key_id) == KEY


def used(at: datetime, key_id: str = "key") -> ApiKeyUse:
    return ApiKeyUse(key_id=key_id, last_used_at=write_time(at))


def test_a_use_is_news_a_minute_after_the_last_that_any_replica_wrote() -> None:
    minute = timedelta(minutes=1)
    assert news_of({"key": NOW}, registry_of()) == [used(NOW)]
    assert news_of({"key": NOW}, registry_of(used(NOW - minute))) == [used(NOW)]
    assert news_of({"key": NOW}, registry_of(used(NOW - minute + timedelta(milliseconds=1)))) == []
    assert news_of({"key": NOW}, registry_of(used(NOW + minute))) == []
    assert news_of({"key": NOW}, registry_of(used(NOW, "other"))) == [used(NOW)]


async def test_two_replicas_note_many_uses_in_one_record_and_leave_the_key_alone(
    kafka: Kafka, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_uses, "WRITE_EVERY_S", 0.05)
    await install(kafka, settings)
    topic, registry, stop = settings.topics.registry, Registry(), asyncio.Event()
    await write_entries(kafka, topic, [KEY])
    replicas = [ApiKeyUses(kafka, topic, registry) for _ in range(2)]
    tail = registry_tail(kafka, topic, registry)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(tail.run(stop))
        await tail.caught_up.wait()
        tasks.create_task(replicas[0].run(stop))
        replicas[0].note(KEY.key_id, NOW)

        async def is_known() -> bool:
            return registry.api_key_use(KEY.key_id) == used(NOW, KEY.key_id)

        await eventually(is_known)
        tasks.create_task(replicas[1].run(stop))
        for seconds in range(59):
            for replica in replicas:
                replica.note(KEY.key_id, NOW + timedelta(seconds=seconds))
            await asyncio.sleep(0.01)
        stop.set()
    written = await read_all(kafka, topic, 1)
    assert [r.key for r in written] == [b"key/abcDEF123456", b"key-use/abcDEF123456"]


async def test_a_registry_whose_first_records_were_deleted_is_followed_from_what_is_left(
    kafka: Kafka, settings: Settings
) -> None:
    await install(kafka, settings)
    topic, registry, stop = settings.topics.registry, Registry(), asyncio.Event()
    left = msgspec.structs.replace(KEY, key_id="left00000000")
    await write_entries(kafka, topic, [KEY, left])
    deletes = ConfigResource(
        ConfigResourceType.TOPIC, topic, configs={"cleanup.policy": "compact,delete"}
    )
    async with kafka.admin() as admin:
        await admin._client.alter_configs([deletes])

    async def let_deleted() -> bool:
        # The setting is in force a moment after it was changed.
        try:
            await delete_records(kafka, topic, 0, before=1)
        except PolicyViolationError:
            return False
        return True

    await eventually(let_deleted)
    tail = registry_tail(kafka, topic, registry)
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(30):
        tasks.create_task(tail.run(stop))
        await tail.caught_up.wait()
        stop.set()
    assert [entry.key_id for entry in registry.all(ApiKey)] == ["left00000000"]
    assert (await read_registry(kafka, topic)).all(ApiKey) == registry.all(ApiKey)


async def test_uses_wait_for_a_broker_that_is_away_and_the_last_are_written_at_the_stop(
    kafka: Kafka, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_key_uses, "WRITE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(api_key_uses, "WRITE_EVERY_S", 0.05)
    await install(kafka, settings)
    topic = settings.topics.registry
    away = Kafka(
        msgspec.structs.replace(settings, kafka_bootstrap_servers=f"127.0.0.1:{free_port(0)}"),
        "test",
    )
    uses, stop = ApiKeyUses(away, topic, Registry()), asyncio.Event()
    running = asyncio.create_task(uses.run(stop))
    uses.note("first", NOW)

    async def has_failed() -> bool:
        return uses._failing

    await eventually(has_failed)
    uses.note("second", NOW)
    monkeypatch.setattr(uses, "_kafka", kafka)
    monkeypatch.setattr(api_key_uses, "WRITE_TIMEOUT_S", 10.0)
    stop.set()
    async with asyncio.timeout(20):
        await running
    registry = await read_registry(kafka, topic)
    assert registry.api_key_use("first") == used(NOW, "first")
    assert registry.api_key_use("second") == used(NOW, "second")
