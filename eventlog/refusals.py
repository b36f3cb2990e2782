"""What aiokafka keeps to itself: why it is not let in, and that a topic is not there. It logs both
and tries again, until whoever waits gives up without having learnt why.
"""

import asyncio
import socket
import ssl
from collections.abc import Collection
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import create_conn
from aiokafka.errors import (
    KafkaError,
    NodeNotReadyError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.metadata import MetadataRequest

from eventlog.kafka_errors import advice, error_of, ours
from runtime.errors import KafkaRefused, KafkaUnavailable

APPEARING_S = 1.0
"""How long a topic may take to be known to every broker after it was made."""
_POLL_S = 0.05


def client_of(client: Any) -> Any:
    """The connections below a producer, a consumer or an admin client."""
    return getattr(client, "_client", None) or client.client


async def look_into_refusal(client: Any) -> None:
    """Asks once more, as the client that could not start did, for the sake of the answer.

    Raises:
        KafkaRefused: a broker answers, and does not let us in.
        KafkaUnavailable: no name of theirs is known here.
    """
    below = client_of(client)
    unresolved: list[str] = []
    for host, port, _ in below.hosts:
        try:
            connection = await _connect(below, host, port)
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
    if len(unresolved) == len(below.hosts):
        # It may yet: in a cluster that starts, names come and go.
        raise KafkaUnavailable(
            f"connecting to Kafka: KAFKA_BOOTSTRAP_SERVERS: {', '.join(unresolved)} is not the "
            "name of a host that this machine can find"
        )


async def _connect(below: AIOKafkaClient, host: str, port: int) -> Any:
    return await create_conn(
        host,
        port,
        client_id=below._client_id,
        request_timeout_ms=below._request_timeout_ms,
        ssl_context=below._ssl_context,
        security_protocol=below._security_protocol,
        sasl_mechanism=below._sasl_mechanism,
        sasl_plain_username=below._sasl_plain_username,
        sasl_plain_password=below._sasl_plain_password,
    )


async def require_topics(client: Any, topics: Collection[str]) -> None:
    """Returns when the cluster knows the topics and lets us see them. Costs nothing for those that
    the client knows already.

    Raises:
        KafkaRefused: it does not.
        KafkaError: it can't be asked.
    """
    below = client_of(client)
    unknown = [t for t in topics if below.cluster.partitions_for_topic(t) is None]
    if unknown:
        await check_topics(client, unknown)


async def check_topics(client: Any, topics: Collection[str]) -> None:
    """As ``require_topics``, asking the cluster in any case."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + APPEARING_S
    while (missing := await _refused_topics(client_of(client), topics)) is not None:
        if loop.time() > deadline:
            raise KafkaRefused(
                f"topic {missing} does not exist at this cluster; is it the right one, with the "
                "right LOCKSTREAM_TOPIC_PREFIX? The services make their topics as they start"
            )
        await asyncio.sleep(_POLL_S)


async def _refused_topics(below: Any, topics: Collection[str]) -> str | None:
    """The first that does not exist (yet)."""
    node = below.get_random_node()
    if node is None:
        raise NodeNotReadyError("no broker is known")
    answer = await below.send(node, MetadataRequest(list(topics), False))
    for code, topic, *_ in answer.topics:
        error = error_of(code)
        if isinstance(error, UnknownTopicOrPartitionError):
            return str(topic)
        if isinstance(error, TopicAuthorizationFailedError):
            error = TopicAuthorizationFailedError(topic)
        if code and advice(error) is not None:
            raise ours(error, f"looking up topic {topic}")
    return None
