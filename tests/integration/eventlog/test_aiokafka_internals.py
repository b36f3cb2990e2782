"""What is not aiokafka's public API does what we use it for: one test for each function.

A test that fails with a new aiokafka says which of them has to be written anew.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import ProducerFenced
from aiokafka.producer import sender
from aiokafka.record.default_records import DefaultRecordBatch

from eventlog import aiokafka_internals as internals
from eventlog.clients.connections import APART
from eventlog.clients.group_consumer import GroupConsumer
from eventlog.clients.lane_assignor import LaneAssignor
from eventlog.clients.producer import TransactionalProducer
from eventlog.fetch_requests import Fetch, Limits
from eventlog.group_requests import DescribeGroups
from eventlog.groups import group_members
from eventlog.kafka import CONCURRENT_TRANSACTIONS_BACKOFF_S, Kafka
from eventlog.records import TopicPartition
from runtime.settings import Settings
from schemas.lanes import Lanes
from tests.integration.kafka_tools import write_raw
from tests.integration.roles import install

PARTITION = 0


@pytest.fixture
async def topic(kafka: Kafka, settings: Settings) -> str:
    """Has one record in ``PARTITION``."""
    await install(kafka, settings)
    await write_raw(kafka, settings.topics.lock_events, PARTITION, b"7", b"first")
    return settings.topics.lock_events


@pytest.fixture
def tp(topic: str) -> TopicPartition:
    return TopicPartition(topic, PARTITION)


@pytest.fixture
async def transactional(kafka: Kafka, settings: Settings) -> AsyncIterator[TransactionalProducer]:
    async with kafka.transactional_producer(f"{settings.topic_prefix}w") as producer:
        yield producer


@pytest.fixture
async def member(kafka: Kafka, topic: str, settings: Settings) -> AsyncIterator[GroupConsumer]:
    """A static member of the group that is called as the topic."""
    assignor = LaneAssignor(topic, Lanes(settings.partitions, 1))
    consumer = kafka.group_consumer(topic, "replica-1", assignor)

    async def nothing(tps: object) -> None: ...

    consumer.subscribe(topic, nothing, nothing)
    async with consumer:
        yield consumer


# -- connections -----------------------------------------------------------------------------------


async def test_each_kind_of_client_stands_on_connections(kafka: Kafka, topic: str) -> None:
    async with (
        kafka.idempotent_producer() as producer,
        kafka.offsets_client() as client,
        kafka.admin() as admin,
    ):
        for wrapped in (producer._client, client._client, admin._client):
            connections = internals.connections_of(wrapped)
            assert isinstance(connections, AIOKafkaClient)
            assert connections.cluster.brokers()


async def test_a_client_that_follows_a_topic_asks_for_no_other(kafka: Kafka, topic: str) -> None:
    for followed, known in (((), {"lock-facts", "lock-events"}), ((topic,), {"lock-events"})):
        client = kafka.offsets_client()
        connections = internals.connections_of(client._client)
        for name in followed:
            internals.follow_topic(connections, name)
        async with client:
            await connections.force_metadata_update()
            prefix = topic.removesuffix("lock-events")
            found = {name.removeprefix(prefix) for name in connections.cluster.topics()}
            assert known <= found
            assert (found == known) == bool(followed)


async def test_who_has_waited_for_a_topic_knows_its_leaders(
    kafka: Kafka, topic: str, tp: TopicPartition
) -> None:
    client = kafka.offsets_client()
    connections = internals.connections_of(client._client)
    internals.follow_topic(connections, "another")
    async with client:
        assert connections.cluster.leader_for_partition(tp) is None
        await internals.wait_for_topic(connections, topic)
        assert connections.cluster.leader_for_partition(tp) >= 0


async def test_a_connected_coordinator_has_said_which_versions_it_speaks(
    transactional: TransactionalProducer,
) -> None:
    connections = internals.connections_of(transactional._client)
    node = await transactional.coordinator()
    await connections.ready(node, group=ConnectionGroup.COORDINATION)
    versions = internals.spoken_versions(connections, node)
    metadata, end_transaction = 3, 26
    for api in (metadata, end_transaction):
        least, most = versions[api]
        assert 0 <= least <= most


async def test_a_further_connection_is_made_as_the_others_were(kafka: Kafka, topic: str) -> None:
    async with kafka.offsets_client() as client:
        connections = internals.connections_of(client._client)
        (host, port, _), *_ = connections.hosts
        connection = await internals.connect_as(connections, host, port)
        assert connection.connected()
        assert connection._client_id == "test"
        connection.close()


async def test_a_client_that_is_only_connections_is_its_own_connections(kafka: Kafka) -> None:
    client = kafka.fetcher(())._client
    assert internals.connections_of(client) is client


async def test_a_broker_takes_a_connection_of_any_name(kafka: Kafka, tp: TopicPartition) -> None:
    async with kafka.fetcher([tp.topic]) as fetcher:
        node = await fetcher.connections.leader_of(tp)
        assert node is not None
        for ask in (fetcher.connections.ask, fetcher.connections.ask_apart):
            request = Fetch(Limits(0, 1, 1), (0, -1), {tp: 0})
            assert (await ask(node, request)).error_code == 0
        assert {(node, APART), (node, ConnectionGroup.DEFAULT)} <= set(fetcher._client._conns)


# -- producers -------------------------------------------------------------------------------------


async def test_transactions_follow_each_other_without_the_20_ms_pause(
    kafka: Kafka, settings: Settings, topic: str
) -> None:
    """aiokafka's own sender waits so long before it asks again."""
    assert isinstance(sender.BACKOFF_OVERRIDE, float)
    loop, times = asyncio.get_running_loop(), []
    async with kafka.transactional_producer(f"{settings.topic_prefix}w") as producer:
        assert sender.BACKOFF_OVERRIDE == CONCURRENT_TRANSACTIONS_BACKOFF_S
        for _ in range(60):
            started_at = loop.time()
            await producer.begin()
            await producer._client.send_and_wait(topic, b"x", partition=PARTITION)
            await producer.commit()
            times.append(loop.time() - started_at)
    assert sorted(times)[10] < 0.020


async def test_a_producer_sends_in_a_task_of_its_own(kafka: Kafka, tp: TopicPartition) -> None:
    async with kafka.idempotent_producer() as producer, kafka.offsets_client() as client:
        task = internals.sender_task(producer._client)
        assert task is not None
        assert not task.done()
        assert internals.sender_task(client._client) is None
    assert task.done()


async def test_what_nobody_awaits_of_a_broken_producer_is_found(
    kafka: Kafka, transactional: TransactionalProducer, topic: str
) -> None:
    """What of it is not found fails the test when it is collected: see ``tests/guards.py``."""
    await transactional.begin()
    async with kafka.transactional_producer(transactional.transactional_id):
        sent = await transactional._client.send(topic, b"too late", partition=PARTITION)
        with pytest.raises(ProducerFenced):
            await sent
    failures = [future.exception() for future in internals.unawaited(transactional._client)]
    assert [type(failure) for failure in failures] == [ProducerFenced] * 2


async def test_the_coordinator_of_a_producers_transactions_is_a_broker(
    transactional: TransactionalProducer,
) -> None:
    client = transactional._client
    node = await internals.transaction_coordinator(client, transactional.transactional_id)
    assert node in {broker.nodeId for broker in internals.connections_of(client).cluster.brokers()}


async def test_whoever_fences_has_the_same_id_and_a_later_epoch(
    kafka: Kafka, transactional: TransactionalProducer
) -> None:
    producer_id, epoch = internals.producer_identity(transactional._client)
    async with kafka.transactional_producer(transactional.transactional_id) as successor:
        assert internals.producer_identity(successor._client) == (producer_id, epoch + 1)


async def test_a_sealed_batch_is_its_producers(transactional: TransactionalProducer) -> None:
    builder = transactional._client.create_batch()
    for value in (b"a", b"b"):
        builder.append(timestamp=None, key=b"7", value=value, headers=[])
    builder.close()
    batch = DefaultRecordBatch(internals.seal(builder, 40, 3, 17))
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (40, 3, 17)
    assert batch.is_transactional
    assert [record.value for record in batch] == [b"a", b"b"]


# -- consumers -------------------------------------------------------------------------------------


async def test_a_committed_offset_is_read_with_its_note(
    member: GroupConsumer, tp: TopicPartition
) -> None:
    assert await internals.committed_with_note(member._client, tp) is None
    await member.commit({tp: (5, "note")})
    assert await internals.committed_with_note(member._client, tp) == (5, "note")


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_static_member_that_forgets_its_instance_id_leaves_its_group(
    kafka: Kafka, member: GroupConsumer, topic: str, forgotten: bool
) -> None:
    assert [found.name for found in await group_members(kafka, topic)] == ["replica-1"]
    if forgotten:
        internals.forget_instance_id(member._client)
    await member.stop()
    assert len(await group_members(kafka, topic)) == (0 if forgotten else 1)


# -- answers to an admin client --------------------------------------------------------------------


async def test_a_group_is_described_with_its_members_and_what_they_have(
    kafka: Kafka, member: GroupConsumer, topic: str, settings: Settings
) -> None:
    async with kafka.admin() as admin:
        node = await admin._client.find_coordinator(topic)
        answer = await admin.connections.ask(node, DescribeGroups(["nobody's", topic]))
        found = internals.described_groups(answer)
    assert found["nobody's"] == (0, "Dead", [])
    code, state, (described,) = found[topic]
    assert (code, state) == (0, "Stable")
    assert described.member_id.startswith("replica-1")
    assert described.host.lstrip("/")
    assert sorted(described.partitions) == list(range(settings.partitions))


async def test_a_topics_setting_is_described_by_name_and_value(kafka: Kafka, topic: str) -> None:
    async with kafka.admin() as admin:
        assert await admin.topic_setting([topic], "retention.ms") == {topic: "-1"}
