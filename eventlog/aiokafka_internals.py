"""Holds what we use of aiokafka beyond its public API, one function each.

``test_aiokafka_internals`` has a test for each that fails when aiokafka changes it. Other modules
build on aiokafka's classes: ``kafka_requests`` and ``fetch_requests`` on those of its protocol,
``record_batches`` and ``any_headers`` on those of its records. In the types, Any stands for an
object of aiokafka's.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.conn import create_conn
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.producer import sender
from aiokafka.structs import TopicPartition

COORDINATION = ConnectionGroup.COORDINATION


# -- connections -----------------------------------------------------------------------------------


def connections_of(client: Any) -> Any:
    """Returns the ``AIOKafkaClient`` below a producer, a consumer or an admin client, or itself."""
    if isinstance(client, AIOKafkaClient):
        return client
    return getattr(client, "_client", None) or client.client


def follow_topic(connections: Any, topic: str) -> None:
    """Makes a topic's metadata be refreshed. Asks for nothing yet, unlike ``add_topic``."""
    connections._topics.add(topic)


async def wait_for_topic(connections: Any, topic: str) -> None:
    """Returns when the topic's leaders are known."""
    await connections._wait_on_metadata(topic)


def spoken_versions(connections: Any, node: int) -> Mapping[int, tuple[int, int]]:
    """Returns the least and greatest version of each API that a connected coordinator speaks."""
    versions: Mapping[int, tuple[int, int]] = connections._conns[(node, COORDINATION)]._versions
    return versions


async def connect_as(connections: Any, host: str, port: int) -> Any:
    """Opens one more connection, with the settings of ``connections``.

    Raises:
        KafkaError: the broker does not let us in.
        OSError: no broker answers.
    """
    return await create_conn(
        host,
        port,
        client_id=connections._client_id,
        request_timeout_ms=connections._request_timeout_ms,
        ssl_context=connections._ssl_context,
        security_protocol=connections._security_protocol,
        sasl_mechanism=connections._sasl_mechanism,
        sasl_plain_username=connections._sasl_plain_username,
        sasl_plain_password=connections._sasl_plain_password,
    )


# -- producers -------------------------------------------------------------------------------------


def set_transaction_pause(seconds: float) -> None:
    """Sets how long the producers of this process wait for the markers of the transaction before,
    until they ask again."""
    sender.BACKOFF_OVERRIDE = seconds


def sender_task(client: Any) -> "asyncio.Task[None] | None":
    """Returns the task that sends a started producer's batches; None for any other client."""
    task: asyncio.Task[None] | None = getattr(getattr(client, "_sender", None), "sender_task", None)
    return task


def unawaited(producer: Any) -> Iterator["asyncio.Future[Any]"]:
    """Yields the futures that nobody awaits once a transactional producer has broken: of a commit
    that was never begun, of batches that were never sent."""
    for batches in producer._message_accumulator._batches.values():
        for batch in batches:
            if batch._drain_waiter is not None:
                yield batch._drain_waiter
    if (end := producer._txn_manager.wait_for_transaction_end()) is not None:
        yield end


async def transaction_coordinator(producer: Any, transactional_id: str) -> int:
    """Returns the node that coordinates the transactions of a started producer.

    Raises:
        KafkaError: nobody can say which.
    """
    return int(
        await producer._sender._find_coordinator(CoordinationType.TRANSACTION, transactional_id)
    )


def producer_identity(producer: Any) -> tuple[int, int]:
    """Returns the id and the epoch that a started transactional producer was given."""
    manager = producer._txn_manager
    return manager.producer_id, manager.producer_epoch


def seal(builder: Any, producer_id: int, epoch: int, sequence: int) -> bytes:
    """Returns a closed batch as bytes. ``sequence``: the number of its first record in its
    partition."""
    builder._set_producer_state(producer_id, epoch, sequence)
    return bytes(builder._build())


# -- consumers -------------------------------------------------------------------------------------


async def committed_with_note(consumer: Any, tp: TopicPartition) -> tuple[int, str] | None:
    """Returns a group's offset and its metadata, which the public ``committed`` drops.

    Raises:
        KafkaError: the group's coordinator refuses.
    """
    found = (await consumer._coordinator.fetch_committed_offsets([tp])).get(tp)
    return None if found is None or found.offset < 0 else (found.offset, found.metadata)


def forget_instance_id(consumer: Any) -> None:
    """Makes a static member leave its group as it stops. By itself it stays a member until its
    session runs out, since it may come back (KIP-345). A member id is enough to leave with."""
    if hasattr(consumer._coordinator, "_group_instance_id"):
        consumer._coordinator._group_instance_id = None


# -- answers to an admin client --------------------------------------------------------------------


class GroupMember(msgspec.Struct, frozen=True):
    """Describes one member of a consumer group, as its coordinator does."""

    member_id: str
    host: str
    partitions: Sequence[int]


def described_groups(answer: Any) -> dict[str, tuple[int, str, list[GroupMember]]]:
    """Returns the error code, the state and the members of each group in a DescribeGroups
    response."""
    return {
        group[1]: (group[0], group[2], [_member(member) for member in group[5]])
        for group in answer.groups
    }


def _member(described: Any) -> GroupMember:
    member_id, _, host, _, assignment = described[:5]
    partitions: list[int] = []
    if assignment:
        decoded = ConsumerProtocolMemberAssignment.decode(assignment)
        partitions = [tp.partition for tp in decoded.partitions()]
    return GroupMember(member_id, host, partitions)


def described_settings(answer: Any) -> Iterator[tuple[str, str, str]]:
    """Yields topic, setting and value of each entry in a DescribeConfigs response."""
    for resource in answer.resources:
        for setting in resource[4]:
            yield resource[3], setting[0], setting[1]
