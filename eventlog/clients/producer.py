"""Producers: one that writes records as they come, one that writes batches in transactions."""

import asyncio
from typing import Any, Protocol

from eventlog import aiokafka_internals as internals
from eventlog.clients.client import Client
from eventlog.records import Output
from schemas.primitives import Headers


class Written(Protocol):
    """Where something stands. ``offset``: of the first record, negative if the broker does not
    know it."""

    @property
    def offset(self) -> int: ...


class Producer(Client):
    """acks=all, no duplicates from its own retries. Sends never expire by themselves: the caller
    puts a deadline on each."""

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int,
        key: bytes | None = None,
        headers: Headers = (),
    ) -> "asyncio.Future[Written]":
        """Returns as soon as there is room for the record; its future, when it stands.

        Raises:
            KafkaError: the topic is not known, or the record too large.
        """
        sent: asyncio.Future[Written] = await self._client.send(
            topic, value, key=key, partition=partition, headers=list(headers)
        )
        return sent

    async def send_and_wait(
        self,
        topic: str,
        value: bytes | None,
        *,
        partition: int,
        key: bytes | None = None,
        headers: Headers = (),
    ) -> Written:
        """Returns where the record stands.

        Raises:
            KafkaError: it does not.
        """
        return await (await self.send(topic, value, partition=partition, key=key, headers=headers))


class Batch:
    """Records for one partition, in the bytes of Kafka's format."""

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
        """Returns a closed batch as bytes, as this producer's, its first record numbered
        ``sequence``."""
        return internals.seal(self.builder, producer_id, epoch, sequence)


class TransactionalProducer(Client):
    """A producer that fences whoever had its transactional id before, as it starts."""

    def __init__(self, client: Any, transactional_id: str) -> None:
        super().__init__(client)
        self.transactional_id = transactional_id

    async def coordinator(self) -> int:
        """Returns the node that coordinates its transactions.

        Raises:
            KafkaError: nobody can say which.
        """
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
        """Takes note of errors that nobody awaits once it has broken; asyncio would report them as
        lost."""
        for future in internals.unawaited(self._client):
            if future.done() and not future.cancelled():
                future.exception()
