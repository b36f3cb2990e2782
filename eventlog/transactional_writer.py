"""A transactional writer writes to several partitions: all of a transaction or nothing of it.

After any error or time-out the writer is useless by design and must be discarded: only the output
tells what became of the transaction, once the next writer has fenced this one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from eventlog.clients.producer import Batch, TransactionalProducer
from eventlog.kafka import Kafka
from eventlog.kafka_errors import KAFKA_ERRORS, KafkaError, kafka_errors, ours
from eventlog.records import Output, TopicPartition
from eventlog.transactions import Places, Transactions, transactions_of
from runtime.errors import KafkaRefused, OutputRefused, OutputUncertain
from runtime.waiting import within

FENCE_TIMEOUT_S = 20.0
STEP_TIMEOUT_S = 8.0
"""Seconds for the sends of a transaction, and again for its commit; below the broker's 10 s."""

Outputs = Mapping[int, Sequence[Output]]
"""What is to be written, by the number of the partition, the same in every topic."""
Offsets = Mapping[int, Sequence[int]]
"""Where outputs stand, by partition, in their order."""


class _Filled(msgspec.Struct, frozen=True):
    """Holds a closed batch, and the indexes of its outputs among those of its partition."""

    batch: Batch
    members: Sequence[int]


Round = Mapping[TopicPartition, _Filled]
"""At most one batch for each partition of each topic: what one request takes."""


class TransactionalWriter:
    def __init__(self, producer: TransactionalProducer, transactions: Transactions) -> None:
        self._producer = producer
        self._transactions = transactions

    @classmethod
    async def fence(
        cls, kafka: Kafka, transactional_id: str, topic: str = ""
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
                return cls(producer, await within(transactions_of(producer), STEP_TIMEOUT_S))
        except BaseException:
            await producer.stop(timeout_s=1.0)
            raise

    @classmethod
    async def end(cls, kafka: Kafka, transactional_id: str) -> None:
        """Ends whoever has the transactional id, and writes nothing under it.

        Raises:
            KafkaUnavailable: as ``fence``.
            KafkaRefused: as ``fence``.
        """
        await (await cls.fence(kafka, transactional_id)).discard()

    async def write(self, outputs: Outputs) -> Offsets:
        """Writes the outputs in one transaction; returns where they stand.

        Raises:
            OutputUncertain: they may or may not be written. Throw this writer away.
            OutputRefused: they are not, and those of some partitions never will be. Likewise.
            KafkaRefused: they are not, and never will be. Likewise.
        """
        with _translated(outputs):
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await self._begin()
                offsets = await self._produce(outputs)
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await self._commit()
        return offsets

    async def write_held(self, first: Outputs, then: Callable[[], Awaitable[Outputs]]) -> None:
        """Writes the first outputs and, once they stand, what ``then`` makes, in one transaction.
        Whoever reads committed records gets nothing behind the first of them before its end.
        ``then`` has less time than the broker gives the transaction.

        Raises:
            OutputUncertain: as ``write``.
            KafkaRefused: as ``write``.
            Exception: what ``then`` raises; then nothing is written. Throw this writer away.
        """
        with _translated(first):
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await self._begin()
                await self._produce(first)
        made = await self._in_time(then())
        with _translated(made):
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await self._produce(made)
            async with asyncio.timeout(STEP_TIMEOUT_S):
                await self._commit()

    async def _in_time(self, made: Awaitable[Outputs]) -> Outputs:
        try:
            return await within(made, STEP_TIMEOUT_S)
        except TimeoutError as error:
            raise OutputUncertain("the transaction was held for too long") from error

    async def _produce(self, outputs: Outputs) -> Offsets:
        offsets = {partition: [-1] * len(of) for partition, of in outputs.items()}
        for one in self._rounds(outputs):
            places = await self._flush(await self._send(one))
            _raise_refusals(places)
            _note(offsets, one, places)
        return offsets

    def _rounds(self, outputs: Outputs) -> Iterator[Round]:
        """Yields the batches: one round, unless a partition has more than one batch takes."""
        left: dict[TopicPartition, list[int]] = {}
        for partition, of_partition in outputs.items():
            for i, output in enumerate(of_partition):
                left.setdefault(TopicPartition(output.topic, partition), []).append(i)
        while left:
            filled = {
                tp: self._fill(outputs[tp.partition], members) for tp, members in left.items()
            }
            left = {
                tp: members[len(filled[tp].members) :]
                for tp, members in left.items()
                if len(filled[tp].members) < len(members)
            }
            yield filled

    def _fill(self, outputs: Sequence[Output], members: Sequence[int]) -> _Filled:
        """Fills a batch with as many of the members as it takes, from the first on."""
        batch = self._producer.create_batch()
        taken = 0
        while taken < len(members) and batch.append(outputs[members[taken]]):
            taken += 1
        batch.close()
        return _Filled(batch, members[:taken])

    # Each step is a method of its own, so that the fault suite can end the process between any two.

    async def _begin(self) -> None:
        await self._transactions.begin()

    async def _send(self, batches: Round) -> "asyncio.Task[Places]":
        """Returns when the requests are on their way."""
        sent = {tp: filled.batch for tp, filled in batches.items()}
        sending = asyncio.create_task(self._transactions.produce(sent))
        try:
            await asyncio.sleep(0)
        except BaseException:
            sending.cancel()
            raise
        return sending

    async def _flush(self, sending: "asyncio.Task[Places]") -> Places:
        """Returns where each batch stands, once the brokers have answered for all of them."""
        return await sending

    async def _commit(self) -> None:
        await self._transactions.commit()

    async def discard(self) -> None:
        """Closes the connections. Aborts nothing: the next one to fence does."""
        await self._producer.stop(timeout_s=1.0)
        self._transactions.discard()


@contextmanager
def _translated(outputs: Outputs) -> Iterator[None]:
    """Says of an error whether the outputs may be written, or never will be."""
    try:
        yield
    except KAFKA_ERRORS as error:
        translated = ours(error, f"writing to {_topics(outputs)}")
        if isinstance(translated, KafkaRefused):
            raise translated from error
        raise OutputUncertain(f"transaction failed: {error!r}") from error
    except (TimeoutError, AssertionError) as error:
        # aiokafka asserts its transaction states: one that its sender broke fails that way.
        raise OutputUncertain(f"transaction failed: {error!r}") from error


def _topics(outputs: Outputs) -> str:
    return ", ".join(sorted({output.topic for of in outputs.values() for output in of}))


def _raise_refusals(places: Places) -> None:
    """Returns if every batch was taken.

    Raises:
        OutputRefused: Kafka refuses some for good.
        KafkaError: some failed otherwise.
    """
    failed = {tp: place for tp, place in places.items() if isinstance(place, KafkaError)}
    refusals = {
        tp.partition: refusal
        for tp, error in failed.items()
        if isinstance(refusal := ours(error, f"writing to {tp.topic}"), KafkaRefused)
    }
    if refusals:
        raise OutputRefused({number: str(refusal) for number, refusal in refusals.items()})
    for error in failed.values():
        raise error


def _note(offsets: dict[int, list[int]], batches: Round, places: Places) -> None:
    """Notes where the outputs of a round stand.

    Raises:
        OutputUncertain: a broker saw a batch before and no longer knows where it put it.
    """
    for tp, filled in batches.items():
        place = places[tp]
        assert isinstance(place, int)
        if place < 0:
            raise OutputUncertain(f"{tp.topic}: written, but at an unknown offset")
        for i, member in enumerate(filled.members):
            offsets[tp.partition][member] = place + i
