"""The seam to aiokafka, which ships no types: every client is made here, with settings that were
chosen on purpose, and its errors become ours here.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.helpers import create_ssl_context
from aiokafka.producer import sender as aiokafka_sender

from eventlog.any_headers import bear_any_headers
from eventlog.kafka_errors import kafka_errors
from eventlog.refusals import look_into_refusal, require_topics
from runtime.errors import ConfigurationError
from runtime.settings import Settings
from runtime.waiting import within
from schemas.lock_events import Headers
from schemas.topics import MAX_OUTPUT_BYTES

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 10.0
START_GRACE_S = 0.5
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


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as read. ``timestamp_ms``: milliseconds since 1970-01-01 UTC."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class FetchedRecord(Protocol):
    """A record as aiokafka hands it over, for whoever needs no copy of it."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class Output(msgspec.Struct, frozen=True, gc=False):
    """One record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Kafka:
    """Makes the clients of one process. Opens no connection by itself."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        bear_any_headers()
        self._client_id = client_id
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

    def idempotent_producer(self) -> Any:
        """acks=all, no duplicates from its own retries. Sends never expire by themselves: the
        caller puts a deadline on each."""
        return AIOKafkaProducer(
            **self._options,
            enable_idempotence=True,
            acks="all",
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
        )

    def transactional_producer(self, transactional_id: str, topic: str = "") -> Any:
        """``topic``: see ``_interested_in``."""
        # aiokafka sleeps 20 ms when a transaction follows another before its markers are
        # written. With 1 ms there are more refusals than transactions: 12 producers got 2,200
        # transactions a second out of two cores, with 4 ms 3,100.
        aiokafka_sender.BACKOFF_OVERRIDE = CONCURRENT_TRANSACTIONS_BACKOFF_S
        producer = AIOKafkaProducer(
            **self._options,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
        )
        return _interested_in(topic, producer, producer.client)

    def reader(
        self, fetch_bytes: int = READER_FETCH_BYTES, fetch_wait_ms: int = READER_FETCH_WAIT_MS
    ) -> Any:
        """A consumer without a group that sees committed records only. ``fetch_bytes``: of each
        partition, at once. ``fetch_wait_ms``: how long a fetch stays at the broker that finds
        nothing, and holds up the next one."""
        return AIOKafkaConsumer(
            **self._options,
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=fetch_wait_ms,
            max_partition_fetch_bytes=fetch_bytes,
        )

    def offsets_client(self, topic: str = "") -> Any:
        """A consumer that only asks for offsets: read_uncommitted, so that ``end_offsets`` is the
        high watermark and not the last stable offset. ``topic``: see ``_interested_in``."""
        consumer = AIOKafkaConsumer(
            **self._options,
            isolation_level="read_uncommitted",
            auto_offset_reset="none",
            enable_auto_commit=False,
        )
        return _interested_in(topic, consumer, consumer._client)

    def group_consumer(self, group: str, instance_id: str | None) -> Any:
        return AIOKafkaConsumer(
            **self._options,
            group_id=group,
            group_instance_id=instance_id,
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            session_timeout_ms=self._session_timeout_ms,
            # A tenth: a member learns of a rebalance only by its next heartbeat.
            heartbeat_interval_ms=max(100, min(1000, self._session_timeout_ms // 10)),
            rebalance_timeout_ms=15_000,
            fetch_max_wait_ms=100,
            # Whatever it has fetched lies in memory until it is taken out: once for each partner.
            fetch_max_bytes=FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES,
        )

    def admin(self) -> Any:
        return AIOKafkaAdminClient(**self._options)


def _interested_in(topic: str, made: Any, client: Any) -> Any:
    """``topic``: any that a long-lived client has to do with; empty: it lives for a moment. One
    that knows of none asks every minute for the metadata of all topics, and keeps it: that was 0.7
    MiB for each partition of a hundred partners, and seconds in which nothing else was done."""
    if topic:
        client._topics.add(topic)
    return made


async def start_client(client: Any, doing: str, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
    """Starts a client; one that can't start is closed again.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        KafkaRefused: it can, and does not let us in.
    """
    starting = asyncio.ensure_future(client.start())
    try:
        with kafka_errors(doing):
            try:
                await within(asyncio.shield(starting), timeout_s)
            except KafkaConnectionError:
                await look_into_refusal(client)
                raise
            # Lets its tasks begin: starting may have made no turn of the loop, and a
            # consumer can't be stopped whose task was cancelled before its first step.
            await asyncio.sleep(0)
    except BaseException:
        await _end_start(starting)
        await stop_client(client)
        raise


async def _end_start(starting: "asyncio.Future[None]") -> None:
    """Cancelled amid its first request, aiokafka forgets a connection that it has opened, and
    nobody can close it: a start is given a moment to end by itself."""
    if not starting.done():
        await asyncio.wait((starting,), timeout=START_GRACE_S)
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,), timeout=START_GRACE_S)
    if starting.done() and not starting.cancelled():
        starting.exception()


def _ssl_context(cafile: str) -> ssl.SSLContext:
    """
    Raises:
        ConfigurationError: the file is not there, or has no certificates in it.
    """
    try:
        context: ssl.SSLContext = create_ssl_context(cafile=cafile or None)
    except OSError as error:
        why = error.strerror if not isinstance(error, ssl.SSLError) else "no certificates in PEM"
        raise ConfigurationError(f"KAFKA_SSL_CAFILE: {cafile}: {why}") from error
    return context


@asynccontextmanager
async def connected(client: Any, doing: str = "connecting to Kafka") -> AsyncIterator[Any]:
    """A started client, for the time of one block.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    await start_client(client, doing)
    try:
        yield client
    finally:
        await stop_client(client)


async def stop_client(client: Any, timeout_s: float = 3.0) -> None:
    """Stops a client, by force if it does not end in time (a producer first waits for a broker
    that may never come back)."""
    end = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    try:
        await within(end(), timeout_s)
    except (TimeoutError, KafkaError) as error:
        log.debug("client did not stop in order: %r", error)
        await _close_by_force(client)


def leave_when_stopped(consumer: Any) -> None:
    """Lets a static member leave its group when it stops, as it does not by itself: it is taken to
    come back, and its session has to run out (KIP-345). Its member id is enough to leave with."""
    if hasattr(consumer._coordinator, "_group_instance_id"):
        consumer._coordinator._group_instance_id = None


async def _close_by_force(client: Any) -> None:
    sender = getattr(client, "_sender", None)
    task = getattr(sender, "sender_task", None)
    if task is not None and not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=1.0)
    connection = getattr(client, "client", None) or getattr(client, "_client", None)
    if connection is not None:
        await asyncio.wait((asyncio.ensure_future(connection.close()),), timeout=1.0)


def forget_failures(producer: Any) -> None:
    """A producer that broke fails futures of its own that nobody awaits: for a commit that was
    never begun, for batches that were never sent. asyncio would report them as lost."""
    waiters = [
        batch._drain_waiter
        for batches in producer._message_accumulator._batches.values()
        for batch in batches
    ]
    waiters.append(producer._txn_manager.wait_for_transaction_end())
    for waiter in waiters:
        if waiter is not None and waiter.done() and not waiter.cancelled():
            waiter.exception()


def to_record(message: FetchedRecord) -> Record:
    return Record(
        message.partition,
        message.offset,
        message.timestamp,
        message.key,
        message.value,
        message.headers,
    )


async def high_watermarks(
    offsets_client: Any, topic: str, partitions: Sequence[int]
) -> dict[int, int]:
    """The offset after the last record of each partition, committed or not.

    Raises:
        KafkaUnavailable: no answer in time.
    """
    return await _ends(offsets_client, topic, partitions)


async def stable_ends(kafka: Kafka, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """The last stable offset of each partition: all before it is decided, committed or aborted.

    Raises:
        KafkaUnavailable: no answer in time.
    """
    async with connected(kafka.reader()) as client:
        return await last_stable_offsets(client, topic, partitions)


async def last_stable_offsets(reader: Any, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """``stable_ends``, asked by a reader that is connected already.

    Raises:
        KafkaUnavailable: no answer in time.
    """
    return await _ends(reader, topic, partitions)


async def beginnings(offsets_client: Any, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """The offset of the first record that retention has left in each partition.

    Raises:
        KafkaUnavailable: no answer in time.
    """
    wanted = [TopicPartition(topic, p) for p in partitions]
    return await _ask_offsets(offsets_client, offsets_client.beginning_offsets, wanted)


async def offsets_at_time(
    offsets_client: Any, topic: str, partitions: Sequence[int], time_ms: int
) -> dict[int, int]:
    """The first offset of each partition whose record is of ``time_ms`` or later; the end where
    there is none.

    Raises:
        KafkaUnavailable: no answer in time.
    """
    ends = await high_watermarks(offsets_client, topic, partitions)
    wanted = {TopicPartition(topic, p): time_ms for p in partitions}
    with kafka_errors(f"asking for the offsets of {topic}"):
        found: Mapping[Any, Any] = await within(
            offsets_client.offsets_for_times(wanted), REQUEST_TIMEOUT_S
        )
    return {
        tp.partition: ends[tp.partition] if entry is None else entry.offset
        for tp, entry in found.items()
    }


async def _ends(client: Any, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    """How far this client may read: its isolation level decides."""
    wanted = [TopicPartition(topic, p) for p in partitions]
    return await _ask_offsets(client, client.end_offsets, wanted)


async def _ask_offsets(
    client: Any, question: Callable[[Sequence[Any]], Awaitable[Any]], wanted: Sequence[Any]
) -> dict[int, int]:
    """
    Raises:
        KafkaRefused: the topic is not there, or may not be read.
        KafkaUnavailable: no answer in time.
    """
    topic = wanted[0].topic if wanted else ""
    with kafka_errors(f"asking for the offsets of {topic}"):
        if wanted:
            # aiokafka would wait for it to appear, and then say only that no answer came.
            await within(require_topics(client, [topic]), REQUEST_TIMEOUT_S)
        answer: Mapping[Any, int] = await within(question(wanted), REQUEST_TIMEOUT_S)
    return {tp.partition: offset for tp, offset in answer.items()}
