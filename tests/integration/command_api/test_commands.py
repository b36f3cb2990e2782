"""A command is answered in time, and truthfully, whatever is away, late or asked too often."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import pytest

from command_api import commands
from command_api.commands import Recorded
from command_api.credentials import Principal
from command_api.rate_limits import RateLimits
from command_api.requests import UseTempKey
from eventlog.kafka import Kafka
from eventlog.watch import OBSTACLE, REFUSAL
from read_model.rows import Position
from read_model.store import ReadModel
from runtime.errors import OutcomeUnknown, ReadModelUnavailable
from runtime.settings import Settings
from schemas.lock_events import Event
from schemas.lock_facts import Actor, TempKeyUse
from schemas.primitives import event_id_of_idempotency_key
from schemas.topics import partition_of
from schemas.trace_context import NO_TRACE
from tests.examples_of import LOCK_UUID, created_event, temp_key_used, used_event
from tests.integration.command_api.stepped_api import SteppedApi, stepped_api
from tests.integration.kafka_tools import write_facts, write_raw

CREATED = created_event()
KEYED = event_id_of_idempotency_key("acme", "k")


@pytest.fixture
async def api(settings: Settings, kafka: Kafka, model: ReadModel) -> AsyncIterator[SteppedApi]:
    async with stepped_api(settings, kafka, model) as api:
        yield api


@pytest.fixture
async def hasty(settings: Settings, kafka: Kafka, model: ReadModel) -> AsyncIterator[SteppedApi]:
    """Does not wait long for a version."""
    async with stepped_api(settings, kafka, model, answer_timeout=0.1) as api:
        yield api


async def record(api: SteppedApi, *events: Event) -> None:
    """The events are the stream so far: all seen, all folded in."""
    for offset, event in enumerate(events):
        api.see(event, offset)
        await api.fold(event, offset)


async def for_ever() -> None:
    await asyncio.Event().wait()


def raising(error: Exception) -> Callable[[], Awaitable[object]]:
    async def fail() -> None:
        raise error

    return fail


# -- Kafka -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obstacle", "retry_after", "text"),
    [
        (OBSTACLE, "1", "this attempt recorded nothing. Try again"),
        (REFUSAL, "30", "recorded nothing, and none will until an operator has mended it"),
    ],
)
async def test_while_kafka_takes_nothing_a_command_is_not_even_sent(
    hasty: SteppedApi, obstacle: str, retry_after: str, text: str
) -> None:
    await record(hasty, CREATED)
    hasty.readiness.block(obstacle, "user api may not write to lock-facts")
    refused = await hasty.use(key="k")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, retry_after)
    assert text in refused.json()["message"]
    assert "user api" not in refused.text
    assert hasty.publisher.last.offset == -1, "nothing was published"
    hasty.readiness.clear(obstacle)
    assert (await hasty.use(key="k")).status_code == 202


@pytest.mark.parametrize(
    ("key", "text"),
    [("k", "Repeat it with the same Idempotency-Key"), (None, "a repeat may record it twice")],
)
async def test_a_command_that_was_not_confirmed_may_be_recorded_and_its_caller_is_told(
    hasty: SteppedApi, key: str | None, text: str
) -> None:
    await record(hasty, CREATED)
    hasty.steps.at("published", raising(OutcomeUnknown("Kafka did not confirm the fact")))
    unknown = await hasty.use(key=key)
    assert (unknown.status_code, unknown.headers["retry-after"]) == (503, "1")
    message = unknown.json()["message"]
    assert "may have been recorded" in message
    assert text in message
    assert hasty.recent.waiting == 0
    hasty.see(used_event(event_id=KEYED), 1, source_offset=0)
    again = await hasty.use(key="k")
    assert (again.status_code, again.json()["version"]) == (200, 2)


# -- versions that come late or early -------------------------------------------------------------


async def test_a_fact_whose_version_does_not_come_in_time_is_pending(hasty: SteppedApi) -> None:
    await record(hasty, CREATED)
    pending = await hasty.use(key="k")
    assert (pending.status_code, pending.headers["retry-after"]) == (202, "1")
    assert pending.headers["location"] == f"/events/{KEYED}"
    assert pending.json() == {
        "success": True,
        "aggregateId": str(LOCK_UUID),
        "eventId": str(KEYED),
        "status": "pending",
    }
    assert (await hasty.get(f"/events/{KEYED}")).json() == {
        "eventId": str(KEYED),
        "status": "pending",
        "lockId": 7,
    }
    assert hasty.recent.waiting == 0


async def test_the_pending_facts_that_are_remembered_are_bounded(
    hasty: SteppedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PENDING_KEPT", 2)
    await record(hasty, CREATED)
    ids = [UUID((await hasty.use()).json()["eventId"]) for _ in range(3)]
    assert [hasty.handler.pending(event_id) is None for event_id in ids] == [True, False, False]


async def test_an_event_that_is_seen_before_its_fact_is_confirmed_is_not_waited_for(
    api: SteppedApi,
) -> None:
    await record(api, CREATED)

    async def project() -> None:
        api.see(used_event(event_id=KEYED), 1, source_offset=api.publisher.last.offset)

    api.steps.at("published", project)
    async with asyncio.timeout(5):
        answer = await api.use(key="k")
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert "idempotent-replayed" not in answer.headers


async def test_what_was_seen_before_anybody_waited_is_the_answer_at_last(hasty: SteppedApi) -> None:
    """Another replica's fact becomes an event between the look for it and the publishing."""
    await hasty.fold(CREATED, 0)

    async def come() -> None:
        hasty.see(used_event(event_id=KEYED), 1, source_offset=1_000)

    hasty.steps.at("lock", come)
    answer = await hasty.use(key="k")
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    assert answer.headers["idempotent-replayed"] == "true"


async def test_a_first_caller_that_hangs_up_takes_no_answer_from_the_others(
    api: SteppedApi,
) -> None:
    await record(api, CREATED)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await go_on.wait()
        api.see(used_event(event_id=KEYED), 1, source_offset=api.publisher.last.offset)

    api.steps.at("published", hold)
    command = UseTempKey(7, TempKeyUse("key-1", "user-1"), "k", NO_TRACE)
    principal = Principal("acme", Actor(kind="service", subject="open-flow", org_id="acme"))
    first = asyncio.create_task(api.handler.handle(command, principal))
    await reached.wait()
    second = asyncio.create_task(api.handler.handle(command, principal))
    third = asyncio.create_task(api.handler.handle(command, principal))
    await asyncio.sleep(0)
    for gone in (first, second):
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
    go_on.set()
    async with asyncio.timeout(5):
        answer = await third
    assert isinstance(answer, Recorded)
    assert (answer.event.version, answer.replayed) == (2, True)


async def test_an_error_that_nobody_waits_for_any_more_is_no_news(
    api: SteppedApi, caplog: pytest.LogCaptureFixture
) -> None:
    await record(api, CREATED)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        reached.set()
        await go_on.wait()
        raise OutcomeUnknown("Kafka did not confirm the fact")

    api.steps.at("published", fail)
    caller = asyncio.create_task(api.use(key="k"))
    await reached.wait()
    caller.cancel()
    with suppress(asyncio.CancelledError):
        await caller
    go_on.set()
    async with asyncio.timeout(5):
        while api.handler._under_way:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    gc.collect()  # a task says what nobody asked it for only when it goes
    assert [line for line in caplog.records if line.name == "asyncio"] == []


async def test_a_key_is_for_one_payload_on_one_lock(hasty: SteppedApi) -> None:
    await record(hasty, CREATED, used_event(event_id=KEYED))
    other = used_event(lock_id=8, version=2, event_id=event_id_of_idempotency_key("acme", "k8"))
    hasty.see(created_event(lock_id=8), 2)
    hasty.see(other, 3)
    assert (await hasty.use(key="k")).status_code == 200
    assert (await hasty.use(lock_id=8, key="k8")).status_code == 200
    for refused in (
        await hasty.use(key="k8"),
        await hasty.use(lock_id=8, key="k"),
        await hasty.use(key="k", temp_key="another"),
        await hasty.use(key="k", user="another"),
        await hasty.use(key="k", user=None),
    ):
        assert refused.status_code == refused.json()["code"] == 422
    assert hasty.publisher.last.offset == -1, "nothing was published"


# -- the read model --------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "key"), [("event", "k"), ("lock", "k"), ("lock", None)])
async def test_a_look_up_that_takes_too_long_is_503_and_nothing_is_recorded(
    api: SteppedApi, monkeypatch: pytest.MonkeyPatch, place: str, key: str | None
) -> None:
    monkeypatch.setattr(commands, "LOOK_UP_S", 0.1)
    await api.fold(CREATED, 0)
    api.steps.at(place, for_ever)
    async with asyncio.timeout(5):
        refused = await api.use(key=key)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert api.publisher.last.offset == -1, "nothing was published"


async def test_what_memory_holds_is_answered_while_the_read_model_is_away(
    hasty: SteppedApi,
) -> None:
    used = used_event(event_id=KEYED)
    hasty.see(CREATED, 0)
    hasty.see(used, 1)
    away = raising(ReadModelUnavailable("the database does not answer"))
    for place in ("lock", "event", "fate"):
        hasty.steps.at(place, away)
    again = await hasty.use(key="k")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert (await hasty.use()).status_code == 202
    assert (await hasty.get(f"/events/{KEYED}")).json()["status"] == "recorded"
    # What only the model could tell is not guessed at.
    assert (await hasty.use(lock_id=8)).status_code == 503
    assert (await hasty.use(key="new")).status_code == 503


async def test_whether_the_read_model_can_be_asked_is_said_in_readiness(api: SteppedApi) -> None:
    stop = asyncio.Event()
    positions = api.model.positions

    async def away(stream: str) -> dict[int, Position]:
        raise ReadModelUnavailable("the database does not answer")

    async def until(obstacles: dict[str, str]) -> None:
        async with asyncio.timeout(10):
            while api.readiness.obstacles != obstacles:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    vars(api.model)["positions"] = away
    watching = asyncio.create_task(api.stream.watch(stop))
    await until({"read model": "the database does not answer"})
    vars(api.model)["positions"] = positions
    await until({})
    stop.set()
    await watching


# -- reading ---------------------------------------------------------------------------------------


async def test_a_reader_gets_the_version_that_is_folded_in_while_it_waits(api: SteppedApi) -> None:
    await record(api, CREATED)
    used = used_event()

    async def project() -> None:
        api.see(used, 1)
        await api.fold(used, 1)

    api.steps.at("lock", project)
    async with asyncio.timeout(5):
        shown = await api.get("/locks/7?minVersion=2")
    assert (shown.status_code, shown.headers["etag"]) == (200, '"2"')


async def test_a_reader_of_a_version_that_does_not_come_is_answered_in_time(
    settings: Settings, kafka: Kafka, model: ReadModel
) -> None:
    async with stepped_api(settings, kafka, model, answer_timeout=0.5) as api:
        await record(api, CREATED)
        async with asyncio.timeout(5):
            assert (await api.get("/locks/7?minVersion=2")).status_code == 412


async def test_events_are_listed_page_by_page_and_the_last_page_says_so(api: SteppedApi) -> None:
    used = [used_event(version=version, used_count=version - 1) for version in (2, 3, 4, 5)]
    await record(api, CREATED, *used)
    pages = {
        "limit=2": ([1, 2], 2),
        "limit=2&afterVersion=2": ([3, 4], 4),
        "limit=2&afterVersion=3": ([4, 5], None),
        "limit=2&afterVersion=4": ([5], None),
        "limit=2&afterVersion=5": ([], None),
        "limit=4": ([1, 2, 3, 4], 4),
        "limit=5": ([1, 2, 3, 4, 5], None),
        "": ([1, 2, 3, 4, 5], None),
    }
    for query, (versions, following) in pages.items():
        page = (await api.get(f"/locks/7/events?{query}")).json()
        assert [event["version"] for event in page["events"]] == versions, query
        assert page["nextAfterVersion"] == following, query


async def test_a_fact_is_found_by_its_own_id_and_past_what_is_none(hasty: SteppedApi) -> None:
    await hasty.publisher.install()
    topic, partitions = hasty.settings.topics.lock_facts, hasty.settings.partitions
    wanted = temp_key_used()
    named = str(wanted.event_id)
    other = temp_key_used(temp_key=named)
    text = f'{{"eventId":"{named}","lockId":'.encode()
    await write_raw(hasty.kafka, topic, partition_of(7, partitions), b"7", text)
    await write_facts(hasty.kafka, topic, partitions, [other])
    assert (await hasty.get(f"/events/{named}")).status_code == 404
    await write_facts(hasty.kafka, topic, partitions, [wanted])
    for fact in (wanted, other):
        found = await hasty.get(f"/events/{fact.event_id}")
        assert (found.status_code, found.json()["status"]) == (200, "pending")


# -- limits ----------------------------------------------------------------------------------------


async def test_a_caller_above_its_limit_is_told_when_to_come_again_and_records_nothing(
    settings: Settings, kafka: Kafka, model: ReadModel
) -> None:
    limits = RateLimits(3, 2, 3600)
    async with stepped_api(settings, kafka, model, answer_timeout=0.1, rate_limits=limits) as api:
        await record(api, CREATED)

        async def statuses(key_id: str, org_id: str = "acme") -> list[int]:
            headers = {"X-Key": key_id, "X-Org": org_id}
            return [(await api.use(headers=headers)).status_code for _ in range(3)]

        assert await statuses("a") == [202, 202, 429]
        assert await statuses("b") == [202, 429, 429]
        published = api.publisher.last.offset
        refused = await api.use(headers={"X-Key": "c"}, key="k")
        assert refused.status_code == 429
        assert 1100 < int(refused.headers["retry-after"]) <= 1200
        assert refused.headers["ratelimit"].startswith('"organization";r=0;t=1')
        assert (await api.get("/locks/7")).status_code == 429
        assert api.publisher.last.offset == published
        assert await statuses("d", "bolt") == [404, 404, 429]
