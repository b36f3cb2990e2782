"""The publisher makes facts durable, with a deadline on each, and says what became of it."""

import asyncio
import logging

import msgspec

from eventlog.clients.producer import Producer, Written
from eventlog.kafka import Kafka
from eventlog.kafka_errors import KAFKA_ERRORS, kafka_errors, ours
from eventlog.records import Output
from runtime.deadlines import Deadlines
from runtime.errors import KafkaRefused, KafkaUnavailable, OutcomeUnknown
from runtime.tracing import Tracing, ended_on_error, messaging
from schemas.lock_facts import Fact, encode_fact
from schemas.primitives import Headers
from schemas.topics import lock_key, partition_of
from schemas.trace_context import NO_TRACE, TraceContext

log = logging.getLogger(__name__)


class Published(msgspec.Struct, frozen=True):
    partition: int
    offset: int


class FactPublisher:
    """Sends by one idempotent producer, made anew when it breaks. Its memory is bounded: aiokafka
    queues one batch a partition, and a send that finds it full waits for its deadline."""

    def __init__(
        self, kafka: Kafka, topic: str, partitions: int, timeout_s: float, tracing: Tracing
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._partitions = partitions
        self._deadlines = Deadlines(timeout_s)
        self._tracing = tracing
        self._producer: Producer | None = None
        self._logged = ""
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Connects, and looks up the topic.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
            KafkaRefused: we may not write facts.
        """
        await self._working_producer()

    async def close(self) -> None:
        """Sends what is queued, for 5 s at most."""
        if self._producer is not None:
            await self._producer.stop(timeout_s=5.0)
            self._producer = None

    async def publish(self, fact: Fact, trace: TraceContext = NO_TRACE) -> Published:
        """Makes the fact durable; returns where it stands.

        Raises:
            KafkaUnavailable: it was not sent: nothing is recorded.
            KafkaRefused: Kafka does not take it, now or later: nothing is recorded.
            OutcomeUnknown: it was sent and no answer came: it may be recorded, now or later.
        """
        partition = partition_of(fact.lock_id, self._partitions)
        if not self._tracing.on:
            offset = await self._publish(fact, partition, trace.to_kafka())
            return Published(partition, offset)
        span = self._tracing.start(
            f"send {self._topic}",
            "producer",
            trace.traceparent,
            messaging("send", self._topic, partition),
        )
        with ended_on_error(span):
            carried = TraceContext(span.traceparent, trace.tracestate)
            offset = await self._publish(fact, partition, carried.to_kafka())
        span.end({"messaging.kafka.offset": offset})
        return Published(partition, offset)

    async def _publish(self, fact: Fact, partition: int, headers: Headers) -> int:
        sent: asyncio.Future[Written] | None = None
        producer = self._producer
        output = Output(self._topic, lock_key(fact.lock_id), encode_fact(fact), headers)
        try:
            with self._deadlines.limit():
                if producer is None:
                    producer = await self._working_producer()
                sent = await producer.send(output, partition)
                # A time-out cancels this future, which does not keep the record from being sent.
                metadata = await sent
        except TimeoutError as error:
            if sent is None:
                raise KafkaUnavailable("Kafka did not take the fact in time") from error
            raise OutcomeUnknown("Kafka did not confirm the fact in time") from error
        except KafkaRefused as refusal:
            self._log(refusal)
            raise
        except KAFKA_ERRORS as error:
            if producer is not None:
                await self._discard(producer)
            translated = ours(error, f"writing to {self._topic}")
            if isinstance(translated, KafkaRefused):
                self._log(translated)
            elif sent is not None:
                raise OutcomeUnknown(f"Kafka did not confirm the fact: {error!r}") from error
            raise translated from error
        return metadata.offset

    def _log(self, refusal: KafkaRefused) -> None:
        """Logs a refusal once: every command meets with it."""
        if str(refusal) != self._logged:
            self._logged = str(refusal)
            log.error("%s", refusal)

    async def _working_producer(self) -> Producer:
        if self._producer is not None:
            return self._producer
        async with self._starting:
            if self._producer is None:
                producer = self._kafka.idempotent_producer()
                await producer.start("connecting a producer")
                try:
                    with kafka_errors(f"looking up {self._topic}"):
                        await producer.connections.require_topics([self._topic])
                except BaseException:
                    await producer.stop(timeout_s=0.5)
                    raise
                self._producer = producer
        return self._producer

    async def _discard(self, producer: Producer) -> None:
        """Replaces a producer that failed: it may stay out of sequence (aiokafka #1017)."""
        if self._producer is producer:
            self._producer = None
            log.warning("the fact producer failed and is replaced")
            await producer.stop(timeout_s=0.5)
