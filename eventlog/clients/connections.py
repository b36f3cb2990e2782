"""Connections carry requests that aiokafka has no method for.

They also find out why a broker does not let us in, and that a topic does not exist: aiokafka logs
both and tries again, until whoever waits gives up without having learnt the reason.
"""

import asyncio
import socket
import ssl
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.protocol.metadata import MetadataRequest

from eventlog import aiokafka_internals as internals
from eventlog.kafka_errors import (
    KafkaError,
    advice,
    error_of,
    errors,
    ours,
)
from eventlog.kafka_requests import Answer, Request
from eventlog.records import TopicPartition
from runtime.errors import KafkaRefused, KafkaUnavailable

APPEARING_S = 1.0
"""How long a topic may take to be known to every broker after it was made."""
_POLL_S = 0.05
APART = "apart"
"""Names a second connection with a broker, beside aiokafka's own two."""


class Connections:
    """Wraps the ``AIOKafkaClient`` of one client, which makes connections as they are needed.
    Questions raise ``KafkaError`` if no answer comes."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def follow(self, topic: str) -> None:
        """Keeps the metadata of a topic from the next refreshing on."""
        internals.follow_topic(self._client, topic)

    def brokers(self) -> list[int]:
        """Returns the brokers that are known, without asking anybody."""
        return sorted(int(broker.nodeId) for broker in self._client.cluster.brokers())

    async def learn(self, topics: Collection[str]) -> set[str]:
        """Keeps the metadata of these topics; returns those that the cluster has, and lets us
        see."""
        cluster = self._client.cluster
        unknown = [topic for topic in topics if cluster.partitions_for_topic(topic) is None]
        for topic in unknown:
            self.follow(topic)
        if unknown:
            await self.refresh()
        return {topic for topic in topics if cluster.partitions_for_topic(topic) is not None}

    def known_leader(self, tp: TopicPartition) -> int | None:
        """Returns the partition's leader as far as it is known, without asking anybody.

        Raises:
            TopicAuthorizationFailedError: we may not see its topic.
        """
        leader = self._client.cluster.leader_for_partition(tp)
        if leader is None and tp.topic in self._client.cluster.unauthorized_topics:
            raise errors.TopicAuthorizationFailedError(tp.topic)
        return int(leader) if leader is not None and leader >= 0 else None

    async def ask(self, node: int, request: Request[Answer]) -> Answer:
        """Sends a request to one broker."""
        answer: Answer = await self._client.send(node, request)
        return answer

    async def ask_coordinator(self, node: int, request: Request[Answer]) -> Answer:
        """Sends a request over the connection that is kept for a coordinator."""
        group = ConnectionGroup.COORDINATION
        answer: Answer = await self._client.send(node, request, group=group)
        return answer

    async def ask_apart(self, node: int, request: Request[Answer]) -> Answer:
        """Sends a request that may stay at its broker for long, over a connection on which it holds
        up no other: a broker answers one request of a connection at a time."""
        answer: Answer = await self._client.send(node, request, group=APART)
        return answer

    async def ask_any(self, request: Request[Answer]) -> Answer:
        """Sends a request to a random broker."""
        node = self._client.get_random_node()
        if node is None:
            raise errors.NodeNotReadyError("no broker is known")
        return await self.ask(node, request)

    async def coordinator_versions(self, node: int) -> Mapping[int, tuple[int, int]]:
        """Returns the least and greatest version that a coordinator speaks, by API key."""
        if not await self._client.ready(node, group=ConnectionGroup.COORDINATION):
            raise errors.NodeNotReadyError(node)
        return internals.spoken_versions(self._client, node)

    async def leader_of(self, tp: TopicPartition) -> int | None:
        """Returns the partition's leader, None while there is none."""
        await internals.wait_for_topic(self._client, tp.topic)
        leader = self._client.cluster.leader_for_partition(tp)
        return int(leader) if leader is not None and leader >= 0 else None

    async def refresh(self) -> None:
        """Asks for the metadata of all topics that this client follows."""
        await self._client.force_metadata_update()

    async def close(self) -> None:
        await self._client.close()

    # -- what aiokafka keeps to itself -------------------------------------------------------------

    async def require_topics(self, topics: Collection[str]) -> None:
        """Returns when the cluster knows the topics and lets us see them. Asks only for those that
        this client does not know already.

        Raises:
            KafkaRefused: a topic does not exist, or we may not see it.
            KafkaError: no answer.
        """
        cluster = self._client.cluster
        unknown = [topic for topic in topics if cluster.partitions_for_topic(topic) is None]
        if unknown:
            await self.check_topics(unknown)

    async def check_topics(self, topics: Collection[str]) -> None:
        """Does what ``require_topics`` does, but asks the cluster for each of them."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + APPEARING_S
        while (missing := await self._missing(topics)) is not None:
            if loop.time() > deadline:
                raise KafkaRefused(
                    f"topic {missing} does not exist at this cluster; is it the right one, with "
                    "the right LOCKSTREAM_TOPIC_PREFIX? The services make their topics as they "
                    "start"
                )
            await asyncio.sleep(_POLL_S)

    async def _missing(self, topics: Collection[str]) -> str | None:
        """Returns the first topic that does not exist (yet)."""
        answer = await self.ask_any(MetadataRequest(list(topics), False))
        for code, topic, *_ in answer.topics:
            error = error_of(code)
            if isinstance(error, errors.UnknownTopicOrPartitionError):
                return str(topic)
            if isinstance(error, errors.TopicAuthorizationFailedError):
                error = errors.TopicAuthorizationFailedError(topic)
            if code and advice(error) is not None:
                raise ours(error, f"looking up topic {topic}")
        return None

    async def look_into_refusal(self) -> None:
        """Connects once more, as the client that could not start did, to learn the reason.

        Raises:
            KafkaRefused: a broker answers, and does not let us in.
            KafkaUnavailable: none of their names is known here.
        """
        unresolved: list[str] = []
        for host, port, _ in self._client.hosts:
            try:
                connection = await internals.connect_as(self._client, host, port)
            except ssl.SSLError as error:
                raise KafkaRefused(
                    f"connecting to Kafka at {host}:{port}: TLS fails: {error}; check "
                    "KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CAFILE"
                ) from error
            except KafkaError as error:
                if advice(error) is not None:
                    raise ours(error, f"connecting to Kafka at {host}:{port}") from error
            except socket.gaierror:
                unresolved.append(host)
            except (OSError, TimeoutError):
                continue
            else:
                connection.close()
        if len(unresolved) == len(self._client.hosts):
            # It may yet: in a cluster that starts, names come and go.
            raise KafkaUnavailable(
                f"connecting to Kafka: KAFKA_BOOTSTRAP_SERVERS: {', '.join(unresolved)} is not the "
                "name of a host that this machine can find"
            )
