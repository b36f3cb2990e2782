"""Parked facts: listed, tried again, discarded; each becomes one event or waits."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from eventlog.registry import read_registry
from operations.locks.creation import ensure_lock
from operations.locks.files import LockLine
from operations.parked.discards import discard_all, discard_places
from operations.parked.retries import ParkedAgain, Retried, retry_all, retry_one
from operations.parked.states import (
    Notes,
    ParkedPlace,
    ParkedRecord,
    count_waiting,
    find_parked,
    read_parked,
)
from operations.rebuild import rebuild_read_model
from operations.shared.installation import Installation
from projector.role import run_projector
from runtime.errors import ConfigurationError
from schemas.lock_facts import encode_fact
from schemas.topics import partition_of
from tests.examples_of import temp_key_used
from tests.integration.kafka_tools import eventually, read_all, write_facts, write_raw
from tests.integration.operations.command_line import lockstream
from tests.integration.roles import running

LOCK = 9


class Parked:
    """Two uses of a lock that is not there, and something that is no fact."""

    def __init__(self, here: Installation) -> None:
        self.here = here
        self.home = partition_of(LOCK, here.settings.partitions)
        self.facts = [temp_key_used(LOCK, f"key-{n}") for n in range(2)]

    async def write(self) -> None:
        topic, partitions = self.here.settings.topics.lock_facts, self.here.settings.partitions
        await write_facts(self.here.kafka, topic, partitions, self.facts)
        await write_raw(self.here.kafka, topic, self.home, b"9", b"no fact")
        await self.until_parked(3)

    async def until_parked(self, count: int) -> None:
        async def parked() -> bool:
            return await self.here.read_model.count_parked() == count

        await eventually(parked)

    async def notes(self) -> Notes:
        return Notes(await read_registry(self.here.kafka, self.here.settings.topics.registry))

    async def listed(self) -> list[ParkedRecord]:
        notes = await self.notes()
        return [found async for chunk in read_parked(self.here, notes) for found in chunk]

    async def states(self) -> list[str]:
        return [found.state.name for found in await self.listed()]

    async def waiting(self) -> int:
        """As `lockstream status` counts them."""
        topic = self.here.settings.topics.registry
        return await count_waiting(self.here, await read_registry(self.here.kafka, topic))

    async def retry(self, place: ParkedPlace, repaired: bytes | None = None) -> int:
        found = await find_parked(self.here, await self.notes(), place)
        return await retry_one(self.here, found, repaired, "alice")

    async def retry_all(self, reason: str | None = None) -> Retried:
        return await retry_all(self.here, await self.notes(), reason)

    async def discard(self, *places: ParkedPlace) -> None:
        await discard_places(self.here, await self.notes(), places, "a test", "bob")

    async def event_ids(self) -> list[UUID | str]:
        topics, partitions = self.here.settings.topics, self.here.settings.partitions
        records = await read_all(self.here.kafka, topics.lock_events, partitions)
        return [dict(record.headers)["event-id"].decode() for record in records]


@pytest.fixture
async def parked(here: Installation) -> AsyncIterator[Parked]:
    parked = Parked(here)
    async with running(run_projector, here.settings):
        await parked.write()
        yield parked


async def add_lock(here: Installation) -> None:
    assert await ensure_lock(here, LockLine(LOCK, "acme", None))


async def test_facts_that_wait_are_listed_with_why_and_counted(parked: Parked) -> None:
    found = await parked.listed()
    reasons = [record.headers.reason for record in found]
    assert reasons == ["unknown-lock", "unknown-lock", "undecodable"]
    assert await parked.states() == ["waiting"] * 3
    assert await parked.waiting() == 3


async def test_all_that_can_be_read_is_tried_again_and_becomes_one_event_each(
    parked: Parked,
) -> None:
    await add_lock(parked.here)
    tried = await parked.retry_all()
    assert (tried.recorded, tried.parked_again, tried.unreadable) == (2, 0, 1)
    assert [failure.reason for failure in tried.failures] == ["undecodable"]
    assert await parked.states() == ["recorded", "recorded", "waiting"]
    assert await parked.waiting() == 1
    again = await parked.retry_all()
    assert (again.recorded, again.unreadable) == (0, 1)
    recorded = await parked.event_ids()
    assert recorded[1:] == [str(fact.event_id) for fact in parked.facts]


async def test_only_facts_that_were_parked_for_the_reason_are_tried_again(parked: Parked) -> None:
    await add_lock(parked.here)
    tried = await parked.retry_all("undecodable")
    assert (tried.recorded, tried.unreadable) == (0, 1)
    tried = await parked.retry_all("unknown-lock")
    assert (tried.recorded, tried.unreadable) == (2, 0)


async def test_a_fact_that_is_parked_again_waits_at_its_later_place_only(parked: Parked) -> None:
    first = (await parked.listed())[0].place
    with pytest.raises(ParkedAgain, match="unknown-lock"):
        await parked.retry(first)
    assert await parked.states() == ["parked-again", "waiting", "waiting", "waiting"]
    assert await parked.waiting() == 3
    with pytest.raises(ConfigurationError, match="was parked again as"):
        await parked.discard(first)
    tried = await parked.retry_all("unknown-lock")
    assert (tried.recorded, tried.parked_again) == (0, 2)


async def test_a_fact_that_is_recorded_is_not_recorded_again(parked: Parked) -> None:
    await add_lock(parked.here)
    first = (await parked.listed())[0].place
    assert await parked.retry(first) == 2
    assert await parked.retry(first) == 2
    assert len(await parked.event_ids()) == 2
    with pytest.raises(ConfigurationError, match="nothing to discard"):
        await parked.discard(first)


async def test_a_discarded_fact_waits_no_more_and_is_not_tried_again(parked: Parked) -> None:
    await add_lock(parked.here)
    first, second, third = (found.place for found in await parked.listed())
    await parked.discard(first)
    assert await parked.states() == ["discarded", "waiting", "waiting"]
    assert await parked.waiting() == 2
    with pytest.raises(ConfigurationError, match="it was discarded by bob"):
        await parked.retry(first)
    with pytest.raises(ConfigurationError, match="is discarded by bob"):
        await parked.discard(second, first)
    assert await parked.states() == ["discarded", "waiting", "waiting"]
    tried = await parked.retry_all("unknown-lock")
    assert tried.recorded == 1
    discarded = await discard_all(
        parked.here, await parked.notes(), "undecodable", "no fact", "bob"
    )
    assert discarded == [third]
    assert await parked.waiting() == 0
    assert await parked.event_ids() == [
        *(await parked.event_ids())[:1],
        str(parked.facts[1].event_id),
    ]


async def test_what_is_no_fact_is_repaired_and_is_recorded_then(parked: Parked) -> None:
    await add_lock(parked.here)
    place = (await parked.listed())[2].place
    with pytest.raises(ConfigurationError, match="can't be read"):
        await parked.retry(place)
    repaired = temp_key_used(LOCK, "repaired")
    assert await parked.retry(place, encode_fact(repaired)) == 2
    assert await parked.states() == ["waiting", "waiting", "recorded"]
    assert await parked.waiting() == 2


async def test_a_rebuild_brings_the_parked_facts_back(parked: Parked) -> None:
    rebuilt = await rebuild_read_model(parked.here)
    assert (rebuilt.events, rebuilt.parked) == (0, 3)
    assert await parked.here.read_model.count_parked() == 3
    assert await parked.waiting() == 3


async def test_a_list_shows_one_state_and_says_what_it_does_not_show(parked: Parked) -> None:
    async def shown(*options: str) -> list[Any]:
        listed = (await lockstream(parked.here, "parked", "list", "--json", *options)).json
        return [row["place"] for row in listed]

    first, second, third = (str(found.place) for found in await parked.listed())
    await parked.discard((await parked.listed())[0].place)
    assert await shown() == [second, third]
    assert await shown("--state", "discarded") == [first]
    assert await shown("--state", "all") == [first, second, third]
    assert await shown("--state", "all", "--reason", "unknown-lock") == [first, second]
    assert await shown("--state", "recorded") == []
    few = await lockstream(parked.here, "parked", "list", "--limit", "1")
    assert "1 more; --limit shows them" in few.stderr
    assert "not shown: 1 discarded" in few.stderr
    tried = await lockstream(parked.here, "parked", "retry", "--all", "--json")
    assert (tried.code, tried.json["parkedAgain"], tried.json["unreadable"]) == (1, 1, 1)
