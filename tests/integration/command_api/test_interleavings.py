"""What others do while a question is being answered never makes the answer wrong: nothing is said
to be missing that may be there, and nobody is refused for what the log holds."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from eventlog.kafka import Kafka
from read_model.store import ReadModel
from runtime.settings import Settings
from schemas.lock_events import Event, OrganizationSetEvent
from schemas.lock_facts import OrganizationChange
from schemas.primitives import event_id_of_idempotency_key
from tests.examples_of import LOCK_UUID, TIME, created_event, temp_key_used, used_event
from tests.integration.command_api.stepped_api import SteppedApi, stepped_api
from tests.integration.conftest import open_read_model
from tests.integration.kafka_tools import write_facts

CREATED = created_event()


@pytest.fixture
async def api(settings: Settings, kafka: Kafka, read_model: ReadModel) -> AsyncIterator[SteppedApi]:
    async with stepped_api(settings, kafka, read_model) as api:
        yield api


@pytest.fixture
async def on_sqlite(settings: Settings, kafka: Kafka) -> AsyncIterator[SteppedApi]:
    """For what is no question of databases."""
    model = open_read_model(settings)
    await model.prepare()
    async with stepped_api(settings, kafka, model) as api:
        yield api
    await model.close()


@pytest.fixture
async def hasty(
    settings: Settings, kafka: Kafka, read_model: ReadModel
) -> AsyncIterator[SteppedApi]:
    """Does not wait long for a version."""
    async with stepped_api(settings, kafka, read_model, answer_timeout=0.1) as api:
        yield api


@pytest.fixture
async def late(
    settings: Settings, kafka: Kafka, read_model: ReadModel
) -> AsyncIterator[SteppedApi]:
    """Its tail began at offset 2: what came before is in the read model alone."""
    async with stepped_api(settings, kafka, read_model, begin=2, answer_timeout=0.1) as api:
        yield api


def moved_to(org_id: str, version: int = 2) -> OrganizationSetEvent:
    return OrganizationSetEvent(
        event_id=event_id_of_idempotency_key(org_id, "move"),
        lock_id=7,
        occurred_at=TIME,
        actor=CREATED.actor,
        aggregate_id=LOCK_UUID,
        org_id=org_id,
        version=version,
        recorded_at=TIME,
        data=OrganizationChange(org_id=org_id),
    )


# -- locks -----------------------------------------------------------------------------------------


async def test_what_is_seen_of_a_lock_during_a_rebuild_is_not_remembered(late: SteppedApi) -> None:
    await late.fold(CREATED, 0)  # a rebuild under way: the change at offset 1 is still to come
    for org_id in ("globex", "acme"):
        assert (await late.get("/locks/7", org_id)).status_code == 503
        assert (await late.get("/locks/7/events", org_id)).status_code == 503
        assert (await late.use(headers={"X-Org": org_id}, key="k")).status_code == 503
        assert (await late.use(headers={"X-Org": org_id})).status_code == 503
    await late.fold(moved_to("globex"), 1)
    assert (await late.get("/locks/7", "globex")).status_code == 200
    assert (await late.get("/locks/7", "acme")).status_code == 404
    assert (await late.use(headers={"X-Org": "globex"})).status_code == 202


async def test_a_rebuild_takes_no_lock_away_from_whoever_has_it(hasty: SteppedApi) -> None:
    history: list[Event] = [CREATED, moved_to("globex")]
    for offset, event in enumerate(history):
        hasty.see(event, offset)
    await hasty.fold(CREATED, 0)
    assert (await hasty.get("/locks/7", "globex")).status_code == 503
    assert (await hasty.get("/locks/7", "acme")).status_code == 404
    await hasty.fold(moved_to("globex"), 1)
    assert (await hasty.get("/locks/7", "globex")).json()["version"] == 2


async def test_a_newer_row_counts_more_than_what_the_tail_saw_before(hasty: SteppedApi) -> None:
    hasty.see(CREATED, 0)
    await hasty.fold(CREATED, 0)
    await hasty.fold(moved_to("globex"), 1)
    assert (await hasty.get("/locks/7", "globex")).status_code == 200
    hasty.see(CREATED, 0)
    assert (await hasty.get("/locks/7", "globex")).status_code == 200


async def test_a_lock_is_not_listed_as_empty_when_the_model_is_emptied(late: SteppedApi) -> None:
    await late.fold(CREATED, 0)
    await late.fold(used_event(), 1)
    late.steps.at("lock", late.model.reset)
    assert (await late.get("/locks/7/events")).status_code == 503


async def test_a_version_that_was_not_reached_is_412_only_if_all_is_known(
    hasty: SteppedApi,
) -> None:
    hasty.see(CREATED, 0)
    await hasty.fold(CREATED, 0)
    refused = await hasty.get("/locks/7?minVersion=2")
    assert (refused.status_code, refused.headers["etag"]) == (412, '"1"')
    assert refused.json()["message"] == "Lock 7 is at version 1, not yet at 2"
    hasty.see(used_event(), 1)  # seen, and not folded in
    check_unknown(await hasty.get("/locks/7?minVersion=3"))
    await hasty.fold(used_event(), 1)
    assert (await hasty.get("/locks/7?minVersion=3")).status_code == 412
    hasty.readiness.block("kafka", "Kafka does not answer")
    check_unknown(await hasty.get("/locks/7?minVersion=3"))
    hasty.readiness.clear("kafka")
    hasty.caught_up.clear()
    check_unknown(await hasty.get("/locks/7?minVersion=3"))


def check_unknown(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


# -- events ----------------------------------------------------------------------------------------


async def test_an_event_is_not_said_to_be_missing_when_the_model_is_emptied(
    late: SteppedApi,
) -> None:
    used = used_event()
    await late.fold(CREATED, 0)
    await late.fold(used, 1)
    await late.publisher.install()
    assert (await late.get(f"/events/{used.event_id}")).status_code == 200
    assert (await late.get("/locks/7")).status_code == 200, "the lock is in memory"
    await late.model.reset()
    assert (await late.get(f"/events/{used.event_id}")).status_code == 503
    assert (await late.use(key="k")).status_code == 503


async def test_a_fact_that_is_projected_before_its_search_begins_is_found(api: SteppedApi) -> None:
    fact = temp_key_used()
    await api.publisher.install()
    await write_facts(api.kafka, api.settings.topics.lock_facts, api.settings.partitions, [fact])
    await api.fold(CREATED, 0, source_offset=-1)

    async def project() -> None:
        await api.fold(used_event(event_id=fact.event_id), 1, source_offset=0)

    api.steps.at("fate", project)
    answer = await api.get(f"/events/{fact.event_id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    again = await api.get(f"/events/{fact.event_id}")
    assert again.json()["status"] == "recorded"


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "only seen"])
async def test_an_event_that_comes_during_the_look_up_is_the_answer(
    api: SteppedApi, folded: bool
) -> None:
    api.see(CREATED, 0)
    await api.fold(CREATED, 0)
    used = used_event(event_id=event_id_of_idempotency_key("acme", "k"))
    later = used_event(version=3, used_count=2)

    async def come(event: Event = used, offset: int = 1) -> None:
        api.see(event, offset)
        if folded:
            await api.fold(event, offset)

    api.steps.at("event", come)
    answer = await api.use(key="k")
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    assert answer.headers["idempotent-replayed"] == "true"
    assert api.publisher.last.offset == -1, "nothing was published"
    api.steps.at("fate", lambda: come(later, 2))
    assert (await api.get(f"/events/{later.event_id}")).json()["status"] == "recorded"


# -- one key ---------------------------------------------------------------------------------------


async def test_a_repeat_after_the_lock_moved_gets_its_first_answer(hasty: SteppedApi) -> None:
    used = used_event(event_id=event_id_of_idempotency_key("acme", "k"))
    history: list[Event] = [CREATED, used, moved_to("globex", version=3)]
    for offset, event in enumerate(history):
        hasty.see(event, offset)
        await hasty.fold(event, offset)
    again = await hasty.use(key="k")
    assert (again.status_code, again.json()["version"]) == (200, 2)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await hasty.use(temp_key="other", key="k")).status_code == 422
    assert (await hasty.use(key="new")).status_code == 404
    theirs = await hasty.use(key="k", headers={"X-Org": "globex"})
    assert theirs.status_code == 202, "the same key of another organisation is another key"


async def test_a_key_is_answered_with_no_other_organisations_event(hasty: SteppedApi) -> None:
    hasty.see(CREATED, 0)
    theirs = used_event(event_id=event_id_of_idempotency_key("acme", "k"), org_id="globex")
    hasty.see(theirs, 1)
    assert (await hasty.use(key="k")).status_code == 422


@pytest.mark.parametrize("place", ["event", "published"])
async def test_whoever_sent_what_the_log_holds_gets_its_answer_and_no_other(
    on_sqlite: SteppedApi, place: str
) -> None:
    """``first`` is under way here when another replica records ``second`` under its key."""
    on_sqlite.see(CREATED, 0)
    await on_sqlite.fold(CREATED, 0)
    used = used_event(event_id=event_id_of_idempotency_key("acme", "k"), temp_key="second")
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await go_on.wait()

    on_sqlite.steps.at(place, hold)
    first = asyncio.create_task(on_sqlite.use(temp_key="first", key="k"))
    await reached.wait()
    others = [asyncio.create_task(on_sqlite.use(temp_key="second", key="k")) for _ in range(3)]
    more = asyncio.create_task(on_sqlite.use(temp_key="first", key="k"))
    await asyncio.sleep(0)
    on_sqlite.see(used, 1, source_offset=1_000)
    go_on.set()
    answers = await asyncio.gather(*others)
    assert [a.status_code for a in answers] == [200] * 3
    assert {a.headers["idempotent-replayed"] for a in answers} == {"true"}
    assert [(await first).status_code, (await more).status_code] == [422, 422]


async def test_what_went_wrong_for_another_payload_is_not_ones_own_answer(
    on_sqlite: SteppedApi,
) -> None:
    on_sqlite.see(CREATED, 0)
    await on_sqlite.fold(CREATED, 0)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        reached.set()
        await go_on.wait()

    on_sqlite.steps.at("event", hold)
    missing = asyncio.create_task(on_sqlite.use(lock_id=8, key="k"))
    await reached.wait()
    mine = asyncio.create_task(on_sqlite.use(key="k"))

    async def record() -> None:
        used = used_event(event_id=event_id_of_idempotency_key("acme", "k"))
        on_sqlite.see(used, 1, source_offset=on_sqlite.publisher.last.offset)

    on_sqlite.steps.at("published", record)
    go_on.set()
    assert (await missing).status_code == 404
    assert (await mine).status_code == 200


async def test_nobody_is_refused_for_a_key_whose_payload_is_not_known_yet(
    hasty: SteppedApi,
) -> None:
    hasty.see(CREATED, 0)
    await hasty.fold(CREATED, 0)
    reached = asyncio.Event()

    async def reach() -> None:
        reached.set()

    hasty.steps.at("published", reach)
    first = asyncio.create_task(hasty.use(temp_key="first", key="k"))
    await reached.wait()
    second = await hasty.use(temp_key="second", key="k")
    check_unknown(second)
    assert (await first).status_code == 202


@pytest.mark.parametrize(
    ("lock_id", "before"), [(7, 1), (9, 0)], ids=["on this lock", "on a lock of another partition"]
)
async def test_an_earlier_attempts_parked_fact_does_not_refuse_this_one(
    on_sqlite: SteppedApi, lock_id: int, before: int
) -> None:
    on_sqlite.see(CREATED, 0)
    await on_sqlite.fold(CREATED, 0)
    event_id = event_id_of_idempotency_key("acme", "k")
    await on_sqlite.publisher.publish(temp_key_used(event_id=event_id))

    async def park_the_one_before() -> None:
        ours = on_sqlite.publisher.last.offset
        on_sqlite.see_parked(lock_id, event_id, ours - before)
        on_sqlite.see(used_event(event_id=event_id), 1, source_offset=ours)

    on_sqlite.steps.at("published", park_the_one_before)
    answer = await on_sqlite.use(key="k")
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    assert "idempotent-replayed" not in answer.headers


async def test_a_parked_fact_of_ones_own_is_not_found(on_sqlite: SteppedApi) -> None:
    on_sqlite.see(CREATED, 0)
    await on_sqlite.fold(CREATED, 0)

    async def park() -> None:
        event_id = event_id_of_idempotency_key("acme", "k")
        on_sqlite.see_parked(7, event_id, on_sqlite.publisher.last.offset)

    on_sqlite.steps.at("published", park)
    assert (await on_sqlite.use(key="k")).status_code == 404
    assert on_sqlite.recent.waiting == 0


async def test_a_lock_and_an_event_have_one_url_each(on_sqlite: SteppedApi) -> None:
    on_sqlite.see(CREATED, 0)
    await on_sqlite.fold(CREATED, 0)
    assert (await on_sqlite.get("/locks/7")).status_code == 200
    event = f"/events/{CREATED.event_id}"
    assert (await on_sqlite.get(event)).status_code == 200
    for other in (
        "/locks/07",
        "/locks/+7",
        "/locks/%37",
        "/lock%73/7",
        "/locks/7?x",
        event + "?a=1",
    ):
        assert (await on_sqlite.get(other)).status_code == 400, other
    assert (await on_sqlite.get(event.replace("/events", "/event%73"))).status_code == 400
    for none in ("/locks/7/", event + "/", "//locks/7"):
        answer = await on_sqlite.get(none)
        assert (answer.status_code, answer.headers.get("location")) == (404, None)
    refused = await on_sqlite.client.post("/locks/7/use-temp-key?dryRun=1", json={})
    assert [d["field"] for d in refused.json()["details"]] == ["dryRun", "tempKeyUuid"]
