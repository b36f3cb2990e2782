"""The API as it is put together, with the test in the projector's place."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from command_api.role import run_api
from eventlog.kafka import Kafka
from eventlog.records import Record
from eventlog.registry import write_entries
from runtime.issuers import Issuer, write_issuers
from runtime.ports import free_port
from runtime.settings import Settings
from schemas.api_keys import generate_key, hash_key
from schemas.lock_events import Event, EventHeaders, encode_event, event_type
from schemas.lock_facts import decode_fact
from schemas.parked_facts import ParkedHeaders
from schemas.registry import ApiKey
from schemas.topics import lock_key
from tests.examples_of import TIME, created_event, used_event
from tests.integration.kafka_tools import eventually, read_all, write_raw
from tests.integration.roles import Role, install, running
from tests.issued_tokens import ALL_JWKS, AUDIENCE, ISSUER, signed

KEY_ID, KEY = generate_key()


class Served:
    """A running API and its log. ``first``: its first answer, to a good caller."""

    def __init__(
        self, settings: Settings, kafka: Kafka, client: httpx.AsyncClient, role: Role
    ) -> None:
        self.settings, self.kafka, self.client, self._role = settings, kafka, client, role
        self._partition = settings.topics.partition_of(7)

    async def first(self) -> httpx.Response:
        async with asyncio.timeout(30):
            while True:
                try:
                    return await self.client.get("/locks/7")
                except httpx.ConnectError:
                    if self._role.task.done():
                        await self._role.task
                    await asyncio.sleep(0.001)

    async def record(self, event: Event, source_offset: int) -> None:
        headers = EventHeaders(
            str(event.event_id), event_type(event), event.org_id, event.version, source_offset
        )
        topic, value = self.settings.topics.lock_events, encode_event(event)
        await write_raw(self.kafka, topic, self._partition, b"7", value, headers.to_kafka())

    async def park(self, event_id: UUID, source_offset: int) -> None:
        headers = ParkedHeaders(
            "organization-mismatch", "", "lock-facts", source_offset, TIME, str(event_id), 7, "acme"
        )
        topic, key = self.settings.topics.parked_facts, lock_key(7)
        await write_raw(self.kafka, topic, self._partition, key, b"", headers.to_kafka())

    async def fact(self, number: int) -> Record:
        found: list[Record] = []

        async def there() -> bool:
            topic = self.settings.topics.lock_facts
            found[:] = await read_all(self.kafka, topic, self.settings.partitions)
            return len(found) > number

        await eventually(there)
        return found[number]

    async def use(self) -> httpx.Response:
        body = {"tempKeyUuid": "key-1", "userId": "user-1"}
        return await self.client.post("/locks/7/use-temp-key", json=body)


@asynccontextmanager
async def serving(settings: Settings, kafka: Kafka, **changed: Any) -> AsyncIterator[Served]:
    await install(kafka, settings)
    entry = ApiKey(key_id=KEY_ID, org_id="acme", sha256=hash_key(KEY), created_at=TIME)
    await write_entries(kafka, settings.topics.registry, [entry])
    file = settings.state_dir / "jwks.json"
    await asyncio.to_thread(file.write_bytes, ALL_JWKS)
    issuer = Issuer(issuer=ISSUER, audience=AUDIENCE, jwks=str(file))
    chosen = msgspec.structs.replace(
        settings,
        api_port=free_port(0),
        jwt_issuers=write_issuers([issuer]),
        answer_timeout=20.0,
        access_log=False,
        **changed,
    )
    url = f"http://127.0.0.1:{chosen.api_port}"
    credentials = {"Authorization": f"Bearer {signed()}", "X-API-Key": KEY}
    async with (
        running(run_api, chosen) as role,
        httpx.AsyncClient(base_url=url, headers=credentials, timeout=30, trust_env=False) as client,
    ):
        yield Served(chosen, kafka, client, role)


async def test_whoever_has_a_key_is_admitted_from_the_first_answer_on(
    settings: Settings, kafka: Kafka
) -> None:
    async with serving(settings, kafka) as served:
        assert (await served.first()).status_code in (404, 503)


@pytest.mark.parametrize(
    ("setting", "direct", "through_a_proxy"),
    [("local", 200, 404), ("everybody", 200, 200), ("off", 404, 404)],
)
async def test_the_metrics_are_shown_to_whom_the_setting_says(
    settings: Settings, kafka: Kafka, setting: str, direct: int, through_a_proxy: int
) -> None:
    async with serving(settings, kafka, api_metrics=setting) as served:
        await served.first()
        forwarded = {"X-Forwarded-For": "203.0.113.7"}
        assert (await served.client.get("/metrics")).status_code == direct
        hidden = await served.client.get("/metrics", headers=forwarded)
        assert hidden.status_code == through_a_proxy


async def test_each_limit_is_the_one_that_was_set(settings: Settings, kafka: Kafka) -> None:
    async with serving(
        settings,
        kafka,
        organization_rate_limit=300,
        key_rate_limit=20,
        rate_limit_window=600,
        trusted_hosts="127.0.0.1",
    ) as served:
        policy = '"organization";q=300;w=600, "key";q=20;w=600'
        assert (await served.first()).headers["ratelimit-policy"] == policy
        stranger = await served.client.get("/locks/7", headers={"Host": "evil.example.org"})
        assert stranger.status_code == 400


async def test_a_command_is_answered_by_the_event_of_its_fact_or_by_its_parking(
    settings: Settings, kafka: Kafka
) -> None:
    async with serving(settings, kafka) as served:
        await served.first()
        await served.record(created_event(), 0)

        async def known() -> bool:
            ready = (await served.client.get("/readyz")).status_code == 200
            # The tail has seen the lock; the read model has not.
            return ready and (await served.client.get("/locks/7/events")).status_code == 200

        await eventually(known)
        using = asyncio.create_task(served.use())
        fact = await served.fact(0)
        event_id = decode_fact(fact.value or b"").event_id
        await served.record(used_event(event_id=event_id), fact.offset)
        answer = await using
        assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
        assert answer.json()["event"]["id"] == str(event_id)
        using = asyncio.create_task(served.use())
        fact = await served.fact(1)
        await served.park(decode_fact(fact.value or b"").event_id, fact.offset)
        assert (await using).status_code == 404
