"""What no repetition mends is told from an outage, at once and wherever Kafka is asked."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec
import pytest

from eventlog.groups import group_members
from eventlog.kafka import Kafka, stable_ends
from eventlog.publisher import FactPublisher
from eventlog.records import Output
from eventlog.registry import Registry, edit_registry, read_registry, registry_tail
from eventlog.stage.lane_count import settle_lanes
from eventlog.tail import Tail
from eventlog.topic_setup import delete_topic, ensure_installation, ensure_topics
from eventlog.transactional_writer import TransactionalWriter
from eventlog.watch import OBSTACLE, REFUSAL, watch_kafka
from fanout.position_key import ensure_position_key
from fanout.reading import PartnerReading, PartnersReader, open_clients
from fanout.role import run_fanout
from projector.role import run_projector
from runtime.errors import KafkaRefused
from runtime.ports import free_port
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import NoTracing
from schemas.topic_configs import Topic
from tests.examples_of import temp_key_used
from tests.integration.guarded_broker import Guarded, guarded_broker, set_rights
from tests.integration.kafka_tools import eventually
from tests.integration.roles import add_partner, running

AT_ONCE_S = 4.0
Ask = Callable[[Kafka, Settings], Coroutine[Any, Any, object]]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded_broker(tmp_path_factory.mktemp("guarded") / "broker") as broker:
        settings = Settings(kafka_bootstrap_servers=broker.open)
        asyncio.run(set_rights(Kafka(settings, "test")))
        yield broker


@pytest.fixture
def bootstrap_servers(guarded: Guarded) -> str:
    return guarded.open


@pytest.fixture
async def installed(kafka: Kafka, settings: Settings) -> Settings:
    await ensure_installation(kafka, settings)
    return settings


async def _publish(kafka: Kafka, settings: Settings) -> None:
    topic = settings.topics.lock_facts
    publisher = FactPublisher(kafka, topic, settings.partitions, 20.0, NoTracing())
    try:
        await publisher.publish(temp_key_used(1))
    finally:
        await publisher.close()


async def _transact(kafka: Kafka, settings: Settings) -> None:
    writer = await TransactionalWriter.fence(kafka, "t")
    try:
        await writer.write({0: [Output(settings.topics.lock_events, b"k", b"v")]})
    finally:
        await writer.discard()


async def _tail(kafka: Kafka, settings: Settings) -> None:
    tail = Tail(kafka, {settings.topics.lock_events: {0: 0}}, lambda _, __: None)
    await tail.run(asyncio.Event())


async def _follow_registry(kafka: Kafka, settings: Settings) -> None:
    await registry_tail(kafka, settings.topics.registry, Registry()).run(asyncio.Event())


async def _read_registry(kafka: Kafka, settings: Settings) -> None:
    await read_registry(kafka, settings.topics.registry)


async def _edit_registry(kafka: Kafka, settings: Settings) -> None:
    await edit_registry(kafka, settings.topics.registry, lambda _: [])


async def _members(kafka: Kafka, settings: Settings) -> None:
    await group_members(kafka, settings.topics.group("projector"))


async def _create(kafka: Kafka, settings: Settings) -> None:
    await ensure_topics(kafka, settings, [Topic(f"{settings.topic_prefix}new", 1, {})])


async def _delete(kafka: Kafka, settings: Settings) -> None:
    await delete_topic(kafka, settings.topics.parked_facts)


async def _ends(kafka: Kafka, settings: Settings) -> None:
    await stable_ends(kafka, settings.topics.lock_events, [0])


async def _is_refused_at_once(ask: Ask, settings: Settings, what: str) -> None:
    begun = time.monotonic()
    with pytest.raises(KafkaRefused, match=what) as refused:
        await ask(Kafka(settings, "test"), settings)
    assert time.monotonic() - begun < AT_ONCE_S
    assert "\n" not in str(refused.value)


EVERY_WAY: tuple[Ask, ...] = (_publish, _transact, _tail, _read_registry, _edit_registry, _members)


@pytest.mark.parametrize("ask", EVERY_WAY)
async def test_a_wrong_password_is_no_outage(
    guarded: Guarded, installed: Settings, ask: Ask, logged_errors: list[str]
) -> None:
    settings = guarded.as_user(installed, "all", "wrong")
    await _is_refused_at_once(ask, settings, "KAFKA_SASL_PASSWORD")
    logged_errors.clear()


@pytest.mark.parametrize(
    ("user", "ask", "what"),
    [
        ("no-write", _publish, "TopicAuthorizationFailed"),
        ("no-write", _transact, "TopicAuthorizationFailed"),
        ("no-transactions", _transact, "TransactionalIdAuthorizationFailed"),
        ("no-transactions", _edit_registry, "TransactionalIdAuthorizationFailed"),
        ("no-read", _tail, "TopicAuthorizationFailed"),
        ("no-read", _follow_registry, "TopicAuthorizationFailed"),
        ("no-topics", _read_registry, "TopicAuthorizationFailed"),
        ("no-topics", _ends, "TopicAuthorizationFailed"),
        ("no-topics", _publish, "TopicAuthorizationFailed"),
        ("no-delete", _delete, "TopicAuthorizationFailed"),
        ("no-create", _create, "AuthorizationFailed"),
        ("no-groups", _members, "GroupAuthorizationFailed"),
    ],
)
async def test_a_missing_right_is_no_outage(
    guarded: Guarded, installed: Settings, user: str, ask: Ask, what: str, logged_errors: list[str]
) -> None:
    await _is_refused_at_once(ask, guarded.as_user(installed, user), what)
    logged_errors.clear()


@pytest.mark.parametrize("ask", [_publish, _tail, _follow_registry, _read_registry, _ends])
async def test_a_topic_that_does_not_exist_is_no_outage(
    settings: Settings, ask: Ask, logged_errors: list[str]
) -> None:
    await _is_refused_at_once(ask, settings, "does not exist")
    logged_errors.clear()


async def test_a_name_that_kafka_does_not_allow_is_no_outage(
    settings: Settings, logged_errors: list[str]
) -> None:
    for name in ("not a name", "x" * 250):
        with pytest.raises(KafkaRefused, match="InvalidTopic"):
            await ensure_topics(Kafka(settings, "test"), settings, [Topic(name, 1, {})])
        publisher = FactPublisher(Kafka(settings, "test"), name, 1, 20.0, NoTracing())
        begun = time.monotonic()
        with pytest.raises(KafkaRefused, match="InvalidTopic"):
            await publisher.publish(temp_key_used(1))
        assert time.monotonic() - begun < AT_ONCE_S
    logged_errors.clear()


async def test_names_that_are_one_to_kafka_are_no_outage(kafka: Kafka, settings: Settings) -> None:
    """Kafka takes a dot and an underscore for one in its metrics, and refuses the second name."""
    await ensure_topics(kafka, settings, [Topic(f"{settings.topic_prefix}a.b", 1, {})])
    with pytest.raises(KafkaRefused, match="collides"):
        await ensure_topics(kafka, settings, [Topic(f"{settings.topic_prefix}a_b", 1, {})])


@pytest.mark.parametrize(
    ("user", "what"),
    [
        ("no-group", "GroupAuthorizationFailed"),
        ("no-transactions", "TransactionalIdAuthorizationFailed"),
    ],
)
@pytest.mark.parametrize("role", [run_projector, run_fanout])
async def test_a_stage_that_kafka_refuses_stops_loudly_and_does_not_ask_again(
    guarded: Guarded,
    kafka: Kafka,
    installed: Settings,
    role: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]],
    user: str,
    what: str,
    logged_errors: list[str],
) -> None:
    import httpx

    await add_partner(kafka, installed)
    # Both are written at the first start; it is a later one that is refused.
    await settle_lanes(kafka, installed)
    await ensure_position_key(kafka, installed.topics.registry)
    port = free_port(0)
    settings = msgspec.structs.replace(
        guarded.as_user(installed, user), projector_health_port=port, fanout_health_port=port
    )
    async with running(role, settings) as stage, httpx.AsyncClient() as client:

        async def stopped() -> bool:
            if not logged_errors:
                return False
            page = await client.get(f"http://127.0.0.1:{port}/readyz")
            assert page.status_code == 503
            return "stopped: " in page.text and what in page.text

        await eventually(stopped)
        await asyncio.sleep(1.5)  # in which it would have begun again, and said so again
        assert len(logged_errors) == len(set(logged_errors))
        assert not stage.task.done()
    assert all("stopped: " in line and what in line for line in logged_errors)
    logged_errors.clear()


async def test_a_role_that_kafka_does_not_let_in_ends_with_the_reason(
    guarded: Guarded, installed: Settings
) -> None:
    for role in (run_projector, run_fanout):
        with pytest.raises(KafkaRefused, match="KAFKA_SASL_PASSWORD"):
            await role(guarded.as_user(installed, "all", "wrong"), asyncio.Event())


async def test_who_watches_kafka_tells_a_refusal_from_an_outage(
    guarded: Guarded, installed: Settings
) -> None:
    readiness, stop = Readiness(), asyncio.Event()
    kafka = Kafka(guarded.as_user(installed, "no-topics"), "test")
    topics = [installed.topics.lock_events]
    watching = asyncio.create_task(watch_kafka(kafka, topics, readiness, stop))

    async def says_so() -> bool:
        assert OBSTACLE not in readiness.obstacles
        return "TopicAuthorizationFailed" in readiness.obstacles.get(REFUSAL, "")

    await eventually(says_so)
    stop.set()
    await watching


async def test_a_cluster_that_nobody_answers_at_is_an_outage_as_before(settings: Settings) -> None:
    from runtime.errors import KafkaUnavailable

    away = msgspec.structs.replace(settings, kafka_bootstrap_servers=f"127.0.0.1:{free_port(0)}")
    with pytest.raises(KafkaUnavailable):
        await _publish(Kafka(away, "test"), away)


async def test_groups_that_may_not_be_seen_are_not_taken_for_none(
    guarded: Guarded, installed: Settings
) -> None:
    """Whoever lists groups is not told of them, and a partner would seem to have read nothing."""
    partner = await add_partner(Kafka(installed, "test"), installed, "a")

    async def read(user: str) -> list[PartnerReading]:
        kafka = Kafka(guarded.as_user(installed, user), "test")
        reader = PartnersReader(installed.topics, most_groups=5)
        reader.entitled.begin([partner])
        async with open_clients(kafka) as clients:
            return await reader.read(clients, [partner], {})

    assert [found.groups for found in await read("all")] == [[]]
    with pytest.raises(KafkaRefused, match="GroupAuthorizationFailed"):
        await read("no-groups")
