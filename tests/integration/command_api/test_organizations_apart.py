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
from schemas.topics import partition_of
from tests.examples_of import TIME, created_event, temp_key_used, used_event
from tests.integration.command_api.asked import Asked, asking
from tests.integration.kafka_tools import write_facts

CREATED, USED = created_event(), used_event()
EVENTS: list[Event] = [CREATED, USED]


@pytest.fixture
async def asked(settings: Settings, kafka: Kafka, model: ReadModel) -> AsyncIterator[Asked]:
    async with asking(settings, kafka, model, answer_timeout=0.1) as asked:
        await asked.publisher.install()
        yield asked


async def statuses(asked: Asked, path: str) -> tuple[int, int]:
    """For the organisation whose it is, and for another one."""
    return (await asked.get(path)).status_code, (await asked.get(path, "bolt")).status_code


@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "only folded"])
async def test_a_lock_and_its_events(asked: Asked, remembered: bool) -> None:
    for offset, event in enumerate(EVENTS):
        if remembered:
            asked.see(event, offset)
        await asked.fold(event, offset)
    assert await statuses(asked, "/locks/7") == (200, 404)
    assert await statuses(asked, "/locks/7/events") == (200, 404)
    assert await statuses(asked, f"/events/{USED.event_id}") == (200, 404)
    assert (await asked.use(headers={"X-Org": "bolt"})).status_code == 404
    assert asked.publisher.last.offset == -1, "nothing was published"


async def test_the_events_of_before_a_lock_moved(asked: Asked) -> None:
    for offset, event in enumerate([*EVENTS, used_event(version=3, org_id="bolt")]):
        await asked.fold(event, offset)
    listed = await asked.get("/locks/7/events", "bolt")
    assert [event["version"] for event in listed.json()["events"]] == [3]


async def test_a_parked_fact(asked: Asked) -> None:
    fact = temp_key_used()
    partition = partition_of(7, asked.settings.partitions)
    headers = ParkedHeaders(
        "unknown-lock", "", "lock-facts", 0, TIME, str(fact.event_id), 7, "acme"
    )
    await asked.model.apply_parked([Stretch(partition, 0, 1, parked=[ParkedFact(0, headers)])])
    assert await statuses(asked, f"/events/{fact.event_id}") == (200, 404)


async def test_a_fact_that_waits_on_this_replica(asked: Asked) -> None:
    asked.see(CREATED, 0)
    await asked.fold(CREATED, 0)
    pending = await asked.use()
    assert pending.status_code == 202
    assert asked.handler.pending(UUID(pending.json()["eventId"])) is not None
    assert await statuses(asked, pending.headers["location"]) == (200, 404)


async def test_a_fact_that_waits_and_came_by_another_replica(asked: Asked) -> None:
    fact = temp_key_used()
    topic, partitions = asked.settings.topics.lock_facts, asked.settings.partitions
    await write_facts(asked.kafka, topic, partitions, [fact])
    assert await statuses(asked, f"/events/{fact.event_id}") == (200, 404)
