"""One producer, one transactional id, one output partition: all of it or nothing of it.

After any error or time-out the writer is useless by design and must be thrown away: aiokafka can
commit without a record that was refused, retries EndTxn in silence, and may open the next
transaction on the same epoch (KAFKA-17754).
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiokafka.errors import KafkaError

from lockstream.eventlog.kafka import Kafka, Output, forget_failures, start_client, stop_client
from lockstream.runtime.errors import OutputUncertain

log = logging.getLogger(__name__)

FENCE_TIMEOUT_S = 20.0
STEP_TIMEOUT_S = 8.0
"""Seconds for the sends of a transaction, and again for its commit; below the broker's 10 s."""


Sent = tuple[Any, list[int]]
"""The future of a batch, and the indexes of its outputs."""


class TransactionalWriter:
    def __init__(self, producer: Any, partition: int) -> None:
        self._producer = producer
        self._partition = partition

    @classmethod
    async def fence(
        cls, kafka: Kafka, transactional_id: str, partition: int
    ) -> "TransactionalWriter":
        """Takes the transactional id over from whoever had it: their open transaction is aborted
        and nothing that they still send is accepted (KIP-98, InitProducerId).

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        producer = kafka.transactional_producer(transactional_id)
        await start_client(producer, f"fencing {transactional_id}", FENCE_TIMEOUT_S)
        return cls(producer, partition)

    async def write(self, outputs: Sequence[Output]) -> list[int]:
        """Writes the outputs in one transaction; returns their offsets, in the same order.

        Raises:
            OutputUncertain: they may or may not be written. Throw this writer away.
        """
        try:
            return await self._write(outputs)
        except (KafkaError, TimeoutError, AssertionError) as error:
            # aiokafka asserts its transaction states: one that its sender broke fails that way.
            raise OutputUncertain(f"transaction failed: {error!r}") from error

    async def _write(self, outputs: Sequence[Output]) -> list[int]:
        async with asyncio.timeout(STEP_TIMEOUT_S):
            await self._begin()
            sent = await self._send(outputs)
            bases = await self._flush(sent)
        offsets = [-1] * len(outputs)
        for base, (_, members) in zip(bases, sent, strict=True):
            if base.offset < 0:
                # The broker saw this batch before and no longer knows where it put it.
                raise OutputUncertain(f"{base.topic}: written, but at an unknown offset")
            for i, member in enumerate(members):
                offsets[member] = base.offset + i
        async with asyncio.timeout(STEP_TIMEOUT_S):
            await self._commit()
        return offsets

    # Each step is a method of its own, so that the fault suite can end the process between any two.

    async def _begin(self) -> None:
        await self._producer.begin_transaction()

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
                future = await self._producer.send_batch(batch, topic, partition=self._partition)
                sent.append((future, members[begin:end]))
                begin = end
        return sent

    async def _flush(self, sent: Sequence[Sent]) -> Sequence[Any]:
        """Where each batch stands, once the broker has taken all of them."""
        return await asyncio.gather(*(future for future, _ in sent))

    async def _commit(self) -> None:
        await self._producer.commit_transaction()

    async def discard(self) -> None:
        """Closes the connections. Aborts nothing: the next one to fence does."""
        await stop_client(self._producer, timeout_s=1.0)
        forget_failures(self._producer)


def _append(batch: Any, output: Output) -> bool:
    """False if the batch is full; the first record always fits."""
    return (
        batch.append(
            timestamp=None, key=output.key, value=output.value, headers=list(output.headers)
        )
        is not None
    )
