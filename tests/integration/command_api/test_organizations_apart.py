"""What belongs to one organisation is to every other one as if it did not exist."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from eventlog.kafka import Kafka
from read_model.fold import ParkedFact, Stretch
from read_model.store import ReadModel
from runtime.settings import Settings
from schemas.lock_events import Event
from schemas.parked_facts import ParkedHeaders
from tests.examples_of import TIME, created_event, temp_key_used, used_event
from tests.integration.command_api.stepped_api import SteppedApi, stepped_api
from tests.integration.kafka_tools import write_facts

CREATED, USED = created_event(), used_event()
EVENTS: list[Event] = [CREATED, USED]


@pytest.fixture
async def api(settings: Settings, kafka: Kafka, model: ReadModel) -> AsyncIterator[SteppedApi]:
    async with stepped_api(settings, kafka, model, answer_timeout=0.1) as api:
        await api.publisher.install()
        yield api


async def statuses(api: SteppedApi, path: str) -> tuple[int, int]:
    """For the organisation whose it is, and for another one."""
    return (await api.get(path)).status_code, (await api.get(path, "bolt")).status_code


@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "only folded"])
async def test_a_lock_and_its_events(api: SteppedApi, remembered: bool) -> None:
    for offset, event in enumerate(EVENTS):
        if remembered:
            api.see(event, offset)
        await api.fold(event, offset)
    assert await statuses(api, "/locks/7") == (200, 404)
    assert await statuses(api, "/locks/7/events") == (200, 404)
    assert await statuses(api, f"/events/{USED.event_id}") == (200, 404)
    assert (await api.use(headers={"X-Org": "bolt"})).status_code == 404
    assert api.publisher.last.offset == -1, "nothing was published"


async def test_the_events_of_before_a_lock_moved(api: SteppedApi) -> None:
    for offset, event in enumerate([*EVENTS, used_event(version=3, org_id="bolt")]):
        await api.fold(event, offset)
    listed = await api.get("/locks/7/events", "bolt")
    assert [event["version"] for event in listed.json()["events"]] == [3]


async def test_a_parked_fact(api: SteppedApi) -> None:
    fact = temp_key_used()
    partition = api.settings.topics.partition_of(7)
    headers = ParkedHeaders(
        "unknown-lock", "", "lock-facts", 0, TIME, str(fact.event_id), 7, "acme"
    )
    await api.model.apply_parked([Stretch(partition, 0, 1, parked=[ParkedFact(0, headers)])])
    assert await statuses(api, f"/events/{fact.event_id}") == (200, 404)


async def test_a_fact_that_waits_on_this_replica(api: SteppedApi) -> None:
    api.see(CREATED, 0)
    await api.fold(CREATED, 0)
    pending = await api.use()
    assert pending.status_code == 202
    assert api.handler.pending(UUID(pending.json()["eventId"])) is not None
    assert await statuses(api, pending.headers["location"]) == (200, 404)


async def test_a_fact_that_waits_and_came_by_another_replica(api: SteppedApi) -> None:
    fact = temp_key_used()
    topic, partitions = api.settings.topics.lock_facts, api.settings.partitions
    await write_facts(api.kafka, topic, partitions, [fact])
    assert await statuses(api, f"/events/{fact.event_id}") == (200, 404)
