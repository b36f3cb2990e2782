"""Producers write: one kind records as they come, the other batches in transactions."""

import asyncio
from typing import Any, Protocol

from eventlog import aiokafka_internals as internals
from eventlog.clients.client import Client
from eventlog.records import Output


class Written(Protocol):
    """Says where a batch or a record stands. ``offset``: of the first record, negative if the
    broker does not know it."""

    @property
    def offset(self) -> int: ...


class Producer(Client):
    """Writes with acks=all, without duplicates from its own retries. Sends never expire by
    themselves: the caller puts a deadline on each."""

    async def send(self, output: Output, partition: int) -> "asyncio.Future[Written]":
        """Returns as soon as there is room for the record; its future is done when it stands.

        Raises:
            KafkaError: the topic is not known, or the record too large.
        """
        sent: asyncio.Future[Written] = await self._client.send(
            output.topic,
            output.value,
            key=output.key,
            partition=partition,
            headers=list(output.headers),
        )
        return sent

    async def send_and_wait(self, output: Output, partition: int) -> Written:
        """Returns where the record stands."""
        return await (await self.send(output, partition))


class Batch:
    """Collects records for one partition, in the bytes of Kafka's format."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def append(self, output: Output) -> bool:
        """Returns False if the batch is full; the first record always fits."""
        appended = self.builder.append(
            timestamp=None, key=output.key, value=output.value, headers=list(output.headers)
        )
        return appended is not None

    def close(self) -> None:
        """Takes no more records."""
        self.builder.close()

    def __len__(self) -> int:
        return int(self.builder.record_count())

    def seal(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        """Returns a closed batch as bytes, under a producer's identity; ``sequence`` numbers its
        first record."""
        return internals.seal(self.builder, producer_id, epoch, sequence)


class TransactionalProducer(Client):
    """Writes in transactions, and fences whoever had its transactional id before, as it starts."""

    def __init__(self, client: Any, transactional_id: str) -> None:
        super().__init__(client)
        self.transactional_id = transactional_id

    async def coordinator(self) -> int:
        """Returns the node that coordinates its transactions."""
        return await internals.transaction_coordinator(self._client, self.transactional_id)

    def identity(self) -> tuple[int, int]:
        """Returns the producer id and the epoch that it was given as it started."""
        return internals.producer_identity(self._client)

    def create_batch(self) -> Batch:
        return Batch(self._client.create_batch())

    async def begin(self) -> None:
        await self._client.begin_transaction()

    async def send_batch(
        self, topic: str, partition: int, batch: Batch
    ) -> "asyncio.Future[Written]":
        """Returns as soon as there is room for the batch. Its future must be awaited before the
        commit, which would otherwise go on without a batch that was refused."""
        sent: asyncio.Future[Written] = await self._client.send_batch(
            batch.builder, topic, partition=partition
        )
        return sent

    async def commit(self) -> None:
        await self._client.commit_transaction()

    def forget_failures(self) -> None:
        """Retrieves errors that nobody awaits once it has broken; asyncio would report them as
        lost."""
        for future in internals.unawaited(self._client):
            if future.done() and not future.cancelled():
                future.exception()
