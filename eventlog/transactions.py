"""Makes the transactions of a fenced producer, one after the other: by version 2 of
Kafka's protocol where the cluster speaks it (KIP-890; new clusters of Kafka 4 do), else as aiokafka
does.

Version 2 needs two requests, not three, and gives each transaction an epoch of its own: a request
that arrives late can't hit the next transaction (KAFKA-17754). It goes straight over aiokafka's
connections, with one request to each broker for all of its partitions, which takes half of the time
and of the CPU that aiokafka's own sender takes.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from eventlog.clients.client import REQUEST_TIMEOUT_S
from eventlog.clients.connections import Connections
from eventlog.clients.producer import Batch, TransactionalProducer
from eventlog.kafka import CONCURRENT_TRANSACTIONS_BACKOFF_S
from eventlog.kafka_errors import KafkaError, error_of, errors
from eventlog.kafka_requests import AskFeatures, Commit, Produce, Produced
from eventlog.records import TopicPartition

FEATURE, VERSION_2 = "transaction.version", 2
LEADER_BACKOFF_S = 0.02
COMMIT_RETRIED = (errors.ConcurrentTransactions,)
PRODUCE_RETRIED = (
    errors.ConcurrentTransactions,
    errors.NotLeaderForPartitionError,
    errors.LeaderNotAvailableError,
    errors.UnknownTopicOrPartitionError,
    errors.NotEnoughReplicasError,
    errors.NotEnoughReplicasAfterAppendError,
)

Places = Mapping[TopicPartition, int | KafkaError]
"""Where the first record of each batch stands, negative if the broker does not know it; or why the
batch was refused."""


class Transactions(Protocol):
    """Makes the transactions of one producer, one after the other. Any error, raised or returned,
    makes it useless."""

    async def begin(self) -> None: ...

    async def produce(self, batches: Mapping[TopicPartition, Batch]) -> Places:
        """Writes one closed batch to each partition. Called again within a transaction, it goes on
        behind them."""

    async def commit(self) -> None: ...

    def discard(self) -> None:
        """Forgets what is under way."""


async def transactions_of(producer: TransactionalProducer) -> Transactions:
    """Picks the protocol for a producer that has fenced its predecessor.

    Raises:
        KafkaError: the coordinator can't be asked.
    """
    coordinator = await producer.coordinator()
    if await _speaks_version_2(producer.connections, coordinator):
        return TransactionsV2(producer, coordinator)
    return AiokafkaTransactions(producer)


async def _speaks_version_2(connections: Connections, node: int) -> bool:
    versions = await connections.coordinator_versions(node)
    if not all(request.is_spoken(versions) for request in (Produce, Commit, AskFeatures)):
        return False
    answer = await connections.ask_coordinator(node, AskFeatures())
    return answer.levels.get(FEATURE, 0) >= VERSION_2


class AiokafkaTransactions:
    """Implements ``Transactions`` by aiokafka's sender."""

    def __init__(self, producer: TransactionalProducer) -> None:
        self._producer = producer

    async def begin(self) -> None:
        await self._producer.begin()

    async def produce(self, batches: Mapping[TopicPartition, Batch]) -> Places:
        sent = [await self._producer.send_batch(*tp, batch) for tp, batch in batches.items()]
        # All of them: the commit would go on without one that was refused and not awaited.
        written = await asyncio.gather(*sent, return_exceptions=True)
        places: dict[TopicPartition, int | KafkaError] = {}
        for tp, place in zip(batches, written, strict=True):
            if isinstance(place, BaseException) and not isinstance(place, KafkaError):
                raise place
            places[tp] = place if isinstance(place, KafkaError) else place.offset
        return places

    async def commit(self) -> None:
        await self._producer.commit()

    def discard(self) -> None:
        self._producer.forget_failures()


class TransactionsV2:
    """Implements ``Transactions`` by version 2."""

    def __init__(self, producer: TransactionalProducer, coordinator: int) -> None:
        self._connections = producer.connections
        self._transactional_id = producer.transactional_id
        self._coordinator = coordinator
        self._producer_id, self._epoch = producer.identity()
        self._records: dict[TopicPartition, int] = {}

    async def begin(self) -> None:
        """Sends nothing: the first batch begins a transaction."""
        self._records.clear()

    async def produce(self, batches: Mapping[TopicPartition, Batch]) -> Places:
        """Sends again, byte for byte, what the broker says that it can't take yet: its sequence
        keeps it from being written twice."""
        left = {tp: self._sealed(tp, batch) for tp, batch in batches.items()}
        places: dict[TopicPartition, int | KafkaError] = {}
        while True:
            postponed: list[KafkaError] = []
            for tp, (code, offset) in (await self._ask(left)).items():
                error = error_of(code) if code else None
                if error is not None and isinstance(error, PRODUCE_RETRIED):
                    postponed.append(error)
                    continue
                places[tp] = offset if error is None else error
                del left[tp]
            if not left:
                return places
            await self._wait_out(postponed)

    def _sealed(self, tp: TopicPartition, batch: Batch) -> bytes:
        before = self._records.get(tp, 0)
        self._records[tp] = before + len(batch)
        return batch.seal(self._producer_id, self._epoch, before)

    async def _ask(
        self, batches: Mapping[TopicPartition, bytes]
    ) -> Mapping[TopicPartition, tuple[int, int]]:
        """Sends one request to each leader."""
        by_leader: dict[int, dict[TopicPartition, bytes]] = {}
        for tp, batch in batches.items():
            by_leader.setdefault(await self._leader(tp), {})[tp] = batch
        timeout_ms = int(REQUEST_TIMEOUT_S * 1000)
        requests = {
            leader: Produce(self._transactional_id, of_leader, timeout_ms)
            for leader, of_leader in by_leader.items()
        }
        answers: list[Produced]
        if len(requests) == 1:
            answers = [await self._connections.ask(*one) for one in requests.items()]
        else:
            asked = (self._connections.ask(*one) for one in requests.items())
            answers = list(await asyncio.gather(*asked))
        return {tp: place for answer in answers for tp, place in answer.written.items()}

    async def _leader(self, tp: TopicPartition) -> int:
        leader = await self._connections.leader_of(tp)
        # Without a leader, any broker says so.
        return self._coordinator if leader is None else leader

    async def commit(self) -> None:
        request = Commit(self._transactional_id, self._producer_id, self._epoch)
        while True:
            answer = await self._connections.ask_coordinator(self._coordinator, request)
            if answer.error_code == 0:
                self._producer_id, self._epoch = answer.producer_id, answer.producer_epoch
                return
            error = error_of(answer.error_code)
            if not isinstance(error, COMMIT_RETRIED):
                raise error
            await self._wait_out((error,))

    async def _wait_out(self, postponed: Iterable[KafkaError]) -> None:
        """Returns when another try makes sense."""
        if all(isinstance(error, errors.ConcurrentTransactions) for error in postponed):
            await asyncio.sleep(CONCURRENT_TRANSACTIONS_BACKOFF_S)
            return
        await self._connections.refresh()
        await asyncio.sleep(LEADER_BACKOFF_S)

    def discard(self) -> None:
        """Does nothing: whoever waits for an answer is cancelled."""
