"""What transactions by version 2 make of a broker's answers, which are written by hand here."""

import asyncio
import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import (
    InvalidTxnState,
    KafkaError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
)
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from eventlog.clients.producer import Batch, TransactionalProducer
from eventlog.kafka_requests import Commit, Produce
from eventlog.records import Output, TopicPartition
from eventlog.transactional_writer import TransactionalWriter
from eventlog.transactions import TransactionsV2
from runtime.errors import OutputUncertain

PRODUCER_ID, EPOCH = 40, 32_766


class Answers:
    """A broker's, in order, and what it was asked. Stands where aiokafka's client does."""

    def __init__(self, *answers: SimpleNamespace) -> None:
        self.asked: list[object] = []
        self._answers = list(answers)
        self.cluster = SimpleNamespace(leader_for_partition=lambda tp: 1)
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def send(self, node: int, request: object, group: object = None) -> SimpleNamespace:
        self.asked.append(request)
        await self.go_on.wait()
        return self._answers.pop(0)

    async def _wait_on_metadata(self, topic: str) -> None:
        pass

    async def force_metadata_update(self) -> None:
        pass

    def batches(self) -> list[DefaultRecordBatch]:
        """Those that it was asked to write."""
        bodies = [request.encode() for request in self.asked if isinstance(request, Produce)]
        # A batch begins with its base offset, and has its magic byte 16 bytes further on.
        return [DefaultRecordBatch(body[_batch_at(body) :]) for body in bodies]


def _batch_at(body: bytes) -> int:
    """After the names: base offset 0, a length, leader epoch 0 or -1, and magic 2."""
    for at in range(20, len(body) - 17):
        if body[at : at + 8] == bytes(8) and body[at + 16] == 2:
            return at
    raise AssertionError("there is no batch in it")


EVENTS = TopicPartition("events", 0)
PARKED = TopicPartition("parked", 0)


def written(offset: int, tp: TopicPartition = EVENTS) -> SimpleNamespace:
    return SimpleNamespace(written={tp: (0, offset)})


def committed(producer_id: int, epoch: int) -> SimpleNamespace:
    return SimpleNamespace(error_code=0, producer_id=producer_id, producer_epoch=epoch)


def refused(error: Any) -> SimpleNamespace:
    return SimpleNamespace(error_code=error.errno)


def not_taken(error: Any, tp: TopicPartition = EVENTS) -> SimpleNamespace:
    return SimpleNamespace(written={tp: (error.errno, -1)})


def transactions(answers: Answers) -> tuple[TransactionsV2, TransactionalProducer]:
    state = SimpleNamespace(producer_id=PRODUCER_ID, producer_epoch=EPOCH)
    made = SimpleNamespace(client=answers, _txn_manager=state, create_batch=_empty_batch)
    producer = TransactionalProducer(made, "writer")
    return TransactionsV2(producer, 1), producer


def _empty_batch() -> BatchBuilder:
    return BatchBuilder(1_000, 0, is_transactional=1)


def batch_of(*values: bytes) -> Batch:
    batch = Batch(_empty_batch())
    for value in values:
        batch.append(Output("events", b"7", value))
    batch.close()
    return batch


async def write(made: TransactionsV2, *batches: Batch) -> list[int | KafkaError]:
    await made.begin()
    places = [(await made.produce({EVENTS: batch}))[EVENTS] for batch in batches]
    await made.commit()
    return places


async def test_each_transaction_is_written_under_what_the_commit_before_it_answered() -> None:
    answers = Answers(written(0), committed(41, 0), written(2), committed(41, 1))
    made, _ = transactions(answers)
    await write(made, batch_of(b"a"))
    await write(made, batch_of(b"b"))
    first, second = answers.batches()
    assert (first.producer_id, first.producer_epoch) == (PRODUCER_ID, EPOCH)
    assert (second.producer_id, second.producer_epoch) == (41, 0)
    commits = [request for request in answers.asked if isinstance(request, Commit)]
    assert struct.pack(">qh", 41, 0) in commits[1].encode()


async def test_the_second_batch_of_a_partition_counts_on_behind_the_first() -> None:
    answers = Answers(written(0), written(2), committed(PRODUCER_ID, EPOCH))
    made, _ = transactions(answers)
    assert await write(made, batch_of(b"a", b"b"), batch_of(b"c")) == [0, 2]
    assert [batch.base_sequence for batch in answers.batches()] == [0, 2]


async def test_one_request_takes_the_batches_of_all_partitions_of_a_broker() -> None:
    both = SimpleNamespace(written={PARKED: (0, 7), EVENTS: (0, 5)})
    answers = Answers(both)
    made, _ = transactions(answers)
    places = await made.produce({EVENTS: batch_of(b"a"), PARKED: batch_of(b"b")})
    assert places == {EVENTS: 5, PARKED: 7}
    assert len(answers.asked) == 1


async def test_of_several_batches_only_what_was_not_taken_is_sent_again_as_it_was() -> None:
    first = SimpleNamespace(
        written={EVENTS: (0, 5), PARKED: (NotLeaderForPartitionError.errno, -1)}
    )
    answers = Answers(first, written(9, PARKED))
    made, _ = transactions(answers)
    places = await made.produce({EVENTS: batch_of(b"a"), PARKED: batch_of(b"b")})
    assert places == {EVENTS: 5, PARKED: 9}
    whole, again = (cast(Produce, request).encode() for request in answers.asked)
    batch = again[_batch_at(again) : -3]
    assert batch in whole
    assert b"events" not in again


async def test_a_batch_whose_leader_has_moved_is_sent_again_and_another_error_is_told() -> None:
    answers = Answers(not_taken(NotLeaderForPartitionError), written(5), refused(InvalidTxnState))
    made, _ = transactions(answers)
    await made.begin()
    assert await made.produce({EVENTS: batch_of(b"a")}) == {EVENTS: 5}
    with pytest.raises(InvalidTxnState):
        await made.commit()


async def test_a_batch_that_is_refused_says_so_for_its_partition() -> None:
    answers = Answers(not_taken(MessageSizeTooLargeError))
    made, _ = transactions(answers)
    places = await made.produce({EVENTS: batch_of(b"a")})
    assert isinstance(places[EVENTS], MessageSizeTooLargeError)


async def test_a_batch_that_stands_nobody_knows_where_is_not_committed() -> None:
    answers = Answers(written(-1), committed(PRODUCER_ID, EPOCH))
    made, producer = transactions(answers)
    writer = TransactionalWriter(producer, made)
    with pytest.raises(OutputUncertain, match="unknown offset"):
        await writer.write({0: [Output("events", b"7", b"a")]})
    assert not any(isinstance(request, Commit) for request in answers.asked)
