"""A transactional writer writes to one partition: all of a transaction or nothing of it.

After any error or time-out the writer is useless by design and must be discarded: only the output
tells what became of the transaction, once the next writer has fenced this one.
"""

import asyncio
from collections.abc import Awaitable, Sequence

from eventlog.clients.producer import TransactionalProducer, Written
from eventlog.kafka import Kafka
from eventlog.kafka_errors import KAFKA_ERRORS, kafka_errors, ours
from eventlog.records import Output
from eventlog.transactions import Transactions, transactions_of
from runtime.errors import KafkaRefused, OutputUncertain
from runtime.waiting import within

FENCE_TIMEOUT_S = 20.0
STEP_TIMEOUT_S = 8.0
"""Seconds for the sends of a transaction, and again for its commit; below the broker's 10 s."""


Sent = tuple[str, Awaitable[Written], list[int]]
"""A batch: its topic, what tells where it stands, and the indexes of its outputs."""


class TransactionalWriter:
    def __init__(self, producer: TransactionalProducer, transactions: Transactions) -> None:
        self._producer = producer
        self._transactions = transactions

    @classmethod
    async def fence(
        cls, kafka: Kafka, transactional_id: str, partition: int, topic: str = ""
    ) -> "TransactionalWriter":
        """Takes the transactional id over from whoever had it: their open transaction is aborted
        and nothing that they still send is accepted (KIP-98, InitProducerId). ``topic``: see
        ``Kafka.transactional_producer``.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
            KafkaRefused: we may not write under this id.
        """
        producer = kafka.transactional_producer(transactional_id, topic)
        doing = f"fencing {transactional_id}"
        await producer.start(doing, FENCE_TIMEOUT_S)
        try:
            with kafka_errors(doing):
                picking = transactions_of(producer, partition)
                return cls(producer, await within(picking, STEP_TIMEOUT_S))
        except BaseException:
            await producer.stop(timeout_s=1.0)
            raise

    async def write(self, outputs: Sequence[Output]) -> list[int]:
        """Writes the outputs in one transaction; returns their offsets, in the same order.

        Raises:
            OutputUncertain: they may or may not be written. Throw this writer away.
            KafkaRefused: they are not, and never will be. Throw this writer away.
        """
        try:
            return await self._write(outputs)
        except KAFKA_ERRORS as error:
            translated = ours(error, f"writing to {', '.join(sorted({o.topic for o in outputs}))}")
            if isinstance(translated, KafkaRefused):
                raise translated from error
            raise OutputUncertain(f"transaction failed: {error!r}") from error
        except (TimeoutError, AssertionError) as error:
            # aiokafka asserts its transaction states: one that its sender broke fails that way.
            raise OutputUncertain(f"transaction failed: {error!r}") from error

    async def _write(self, outputs: Sequence[Output]) -> list[int]:
        async with asyncio.timeout(STEP_TIMEOUT_S):
            await self._begin()
            sent = await self._send(outputs)
            places = await self._flush(sent)
        offsets = [-1] * len(outputs)
        for place, (topic, _, members) in zip(places, sent, strict=True):
            if place.offset < 0:
                # The broker saw this batch before and no longer knows where it put it.
                raise OutputUncertain(f"{topic}: written, but at an unknown offset")
            for i, member in enumerate(members):
                offsets[member] = place.offset + i
        async with asyncio.timeout(STEP_TIMEOUT_S):
            await self._commit()
        return offsets

    # Each step is a method of its own, so that the fault suite can end the process between any two.

    async def _begin(self) -> None:
        await self._transactions.begin()

    async def _send(self, outputs: Sequence[Output]) -> list[Sent]:
        """Sends the outputs, batch by batch."""
        by_topic: dict[str, list[int]] = {}
        for i, output in enumerate(outputs):
            by_topic.setdefault(output.topic, []).append(i)
        sent: list[Sent] = []
        for topic, members in by_topic.items():
            begin = 0
            while begin < len(members):
                batch = self._producer.create_batch()
                end = begin
                while end < len(members) and batch.append(outputs[members[end]]):
                    end += 1
                batch.close()
                coming = await self._transactions.produce(topic, batch)
                sent.append((topic, coming, members[begin:end]))
                begin = end
        return sent

    async def _flush(self, sent: Sequence[Sent]) -> Sequence[Written]:
        """Returns where each batch stands, once the broker has taken all of them."""
        return await asyncio.gather(*(coming for _, coming, _ in sent))

    async def _commit(self) -> None:
        await self._transactions.commit()

    async def discard(self) -> None:
        """Closes the connections. Aborts nothing: the next one to fence does."""
        await self._producer.stop(timeout_s=1.0)
        self._transactions.discard()
