"""One producer, one transactional id, one output partition: all of it or nothing of it.

After any error or time-out the writer is useless by design and must be thrown away: what became of
the transaction is told by the output alone, once the next writer has fenced this one.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from eventlog.kafka import Kafka, Output, start_client, stop_client
from eventlog.kafka_errors import KAFKA_ERRORS, kafka_errors, ours
from eventlog.transactions import Place, Transactions, transactions_of
from runtime.errors import KafkaRefused, OutputUncertain
from runtime.waiting import within

FENCE_TIMEOUT_S = 20.0
STEP_TIMEOUT_S = 8.0
"""Seconds for the sends of a transaction, and again for its commit; below the broker's 10 s."""


Sent = tuple[str, Awaitable[Place], list[int]]
"""A batch: its topic, what tells where it stands, and the indexes of its outputs."""


class TransactionalWriter:
    def __init__(self, producer: Any, transactions: Transactions) -> None:
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
        await start_client(producer, doing, FENCE_TIMEOUT_S)
        try:
            with kafka_errors(doing):
                asked = transactions_of(producer, transactional_id, partition)
                return cls(producer, await within(asked, STEP_TIMEOUT_S))
        except BaseException:
            await stop_client(producer, timeout_s=1.0)
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
            known = ours(error, f"writing to {', '.join(sorted({o.topic for o in outputs}))}")
            if isinstance(known, KafkaRefused):
                raise known from error
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
        """Sends batch by batch."""
        by_topic: dict[str, list[int]] = {}
        for i, output in enumerate(outputs):
            by_topic.setdefault(output.topic, []).append(i)
        sent: list[Sent] = []
        for topic, members in by_topic.items():
            begin = 0
            while begin < len(members):
                batch = self._producer.create_batch()
                end = begin
                while end < len(members) and _append(batch, outputs[members[end]]):
                    end += 1
                batch.close()
                coming = await self._transactions.produce(topic, batch)
                sent.append((topic, coming, members[begin:end]))
                begin = end
        return sent

    async def _flush(self, sent: Sequence[Sent]) -> Sequence[Place]:
        """Where each batch stands, once the broker has taken all of them."""
        return await asyncio.gather(*(coming for _, coming, _ in sent))

    async def _commit(self) -> None:
        await self._transactions.commit()

    async def discard(self) -> None:
        """Closes the connections. Aborts nothing: the next one to fence does."""
        await stop_client(self._producer, timeout_s=1.0)
        self._transactions.discard()


def _append(batch: Any, output: Output) -> bool:
    """False if the batch is full; the first record always fits."""
    return (
        batch.append(
            timestamp=None, key=output.key, value=output.value, headers=list(output.headers)
        )
        is not None
    )
