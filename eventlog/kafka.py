"""Makes all clients, with settings that were chosen on purpose."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient

from eventlog import aiokafka_internals as internals
from eventlog.clients.access_admin import AccessAdmin
from eventlog.clients.admin import Admin
from eventlog.clients.client import REQUEST_TIMEOUT_S
from eventlog.clients.fetcher import Fetcher
from eventlog.clients.group_consumer import GroupConsumer
from eventlog.clients.lane_assignor import LaneAssignor
from eventlog.clients.offsets_client import OffsetsClient, StableOffsetsClient
from eventlog.clients.producer import Producer, TransactionalProducer
from eventlog.fetch_requests import Limits
from runtime.errors import ConfigurationError
from runtime.settings import Settings
from schemas.topics import MAX_OUTPUT_BYTES

TRANSACTION_TIMEOUT_MS = 10_000
CONCURRENT_TRANSACTIONS_BACKOFF_S = 0.002
MAX_BATCH_BYTES = 900_000
"""Below the broker's limit on one record batch."""
READER_FETCH_BYTES = 2 * 1024 * 1024
READER_FETCH_WAIT_MS = 500
FETCH_BYTES = 1024 * 1024
"""What one answer of the broker holds, of all partitions together. A batch that is larger comes all
the same, alone."""
MAX_REQUEST_BYTES = MAX_OUTPUT_BYTES + 64 * 1024
"""The largest record fits, with what stands around it."""


class Kafka:
    """Makes the clients of one process. Opens no connection by itself.

    ``topic``, where a method takes it: any topic that a long-lived client has to do with; empty for
    a client that lives for a moment. A client that knows of none asks every minute for the metadata
    of all topics, and keeps it: that was 0.7 MiB for each partition of a hundred partners, and
    seconds in which nothing else was done.
    """

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._session_timeout_ms = int(settings.session_timeout * 1000)
        self._options: dict[str, Any] = {
            "bootstrap_servers": settings.kafka_bootstrap_servers,
            "client_id": client_id,
            "security_protocol": settings.kafka_security_protocol,
            "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
            "retry_backoff_ms": 20,
            "metadata_max_age_ms": 60_000,
        }
        if "SSL" in settings.kafka_security_protocol:
            self._options["ssl_context"] = _ssl_context(settings.kafka_ssl_cafile)
        if settings.kafka_security_protocol.startswith("SASL"):
            self._options["sasl_mechanism"] = settings.kafka_sasl_mechanism
            self._options["sasl_plain_username"] = settings.kafka_sasl_username
            self._options["sasl_plain_password"] = settings.kafka_sasl_password

    def idempotent_producer(self) -> Producer:
        return Producer(
            AIOKafkaProducer(
                **self._options,
                enable_idempotence=True,
                acks="all",
                max_batch_size=MAX_BATCH_BYTES,
                max_request_size=MAX_REQUEST_BYTES,
            )
        )

    def transactional_producer(
        self, transactional_id: str, topic: str = ""
    ) -> TransactionalProducer:
        # aiokafka sleeps 20 ms when a transaction follows another before its markers are
        # written. With 1 ms there are more refusals than transactions: 12 producers got 2,200
        # transactions a second out of two cores, with 4 ms 3,100.
        internals.set_transaction_pause(CONCURRENT_TRANSACTIONS_BACKOFF_S)
        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
        )
        return TransactionalProducer(_following(topic, producer), transactional_id)

    def fetcher(
        self,
        topics: Sequence[str],
        fetch_bytes: int = READER_FETCH_BYTES,
        fetch_wait_ms: int = READER_FETCH_WAIT_MS,
        arrived: asyncio.Event | None = None,
        partition_bytes: int | None = None,
    ) -> Fetcher:
        """Makes a client that reads committed records of these topics' partitions.

        Args:
            fetch_bytes: of all partitions that one broker leads, at once.
            fetch_wait_ms: how long a request stays at the broker that finds nothing.
            arrived: is set when there is something to be taken.
            partition_bytes: of one of them; None if one may have all.
        """
        client = AIOKafkaClient(**self._options)
        limits = Limits(fetch_wait_ms, fetch_bytes, partition_bytes or fetch_bytes)
        return Fetcher(client, topics, limits, arrived)

    def offsets_client(self, topic: str = "") -> OffsetsClient:
        consumer = self._consumer("read_uncommitted")
        return OffsetsClient(_following(topic, consumer))

    def stable_offsets_client(self) -> StableOffsetsClient:
        return StableOffsetsClient(self._consumer("read_committed"))

    def _consumer(self, isolation_level: str) -> Any:
        """Returns a consumer without a group, of which only offsets are asked."""
        return AIOKafkaConsumer(
            **self._options,
            isolation_level=isolation_level,
            auto_offset_reset="none",
            enable_auto_commit=False,
        )

    def group_consumer(
        self, group: str, instance_id: str | None, assignor: LaneAssignor
    ) -> GroupConsumer:
        return GroupConsumer(
            AIOKafkaConsumer(
                **self._options,
                group_id=group,
                group_instance_id=instance_id,
                partition_assignment_strategy=(assignor,),
                auto_offset_reset="none",
                enable_auto_commit=False,
                session_timeout_ms=self._session_timeout_ms,
                # A tenth: a member learns of a rebalance only by its next heartbeat.
                heartbeat_interval_ms=max(100, min(1000, self._session_timeout_ms // 10)),
                rebalance_timeout_ms=15_000,
            )
        )

    def admin(self) -> Admin:
        return Admin(AIOKafkaAdminClient(**self._options))

    def access_admin(self) -> AccessAdmin:
        return AccessAdmin(AIOKafkaAdminClient(**self._options))


def _following(topic: str, client: Any) -> Any:
    if topic:
        internals.follow_topic(internals.connections_of(client), topic)
    return client


def _ssl_context(cafile: str) -> ssl.SSLContext:
    """Trusts the authorities in ``cafile``; those of this machine if it is empty.

    Raises:
        ConfigurationError: the file is not there, or has no certificates in it.
    """
    try:
        return ssl.create_default_context(cafile=cafile or None)
    except OSError as error:
        why = error.strerror if not isinstance(error, ssl.SSLError) else "no certificates in PEM"
        raise ConfigurationError(f"KAFKA_SSL_CAFILE: {cafile}: {why}") from error


async def stable_ends(kafka: Kafka, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """Returns the last stable offset of each partition, through a client of its own.

    Raises:
        KafkaUnavailable: no answer in time.
    """
    async with kafka.stable_offsets_client() as client:
        return await client.stable_ends(topic, partitions)
