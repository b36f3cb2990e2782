"""What integration tests do with topics, through clients of their own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete

from eventlog.groups import group_members
from eventlog.kafka import Kafka, stable_ends
from eventlog.log_reader import LogReader
from eventlog.records import Output, Record, TopicPartition
from eventlog.registry import read_registry
from eventlog.transactional_writer import TransactionalWriter
from fanout.positions import Positions
from schemas.lock_facts import Fact, encode_fact
from schemas.primitives import Headers
from schemas.topics import lock_key, partition_of

DEADLINE_S = 30.0


async def eventually(
    condition: Callable[[], Awaitable[bool]], timeout_s: float = DEADLINE_S
) -> None:
    """Returns when the condition holds; fails the test if it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 - what changes is outside this process
            await asyncio.sleep(0.02)


async def write_raw(
    kafka: Kafka,
    topic: str,
    partition: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers = (),
) -> int:
    """Writes one record as it is; returns its offset."""
    async with kafka.idempotent_producer() as producer:
        return (await producer.send_and_wait(Output(topic, key, value, headers), partition)).offset


@asynccontextmanager
async def open_transaction(
    kafka: Kafka, name: str, topic: str, partition: int, value: bytes
) -> AsyncIterator[AIOKafkaProducer]:
    """Yields a producer of aiokafka's with one record in a transaction that it has not ended."""
    async with kafka.transactional_producer(name) as producer:
        await producer.begin()
        await producer._client.send_and_wait(topic, value, key=b"7", partition=partition)
        yield producer._client


async def delete_records(kafka: Kafka, topic: str, partition: int, before: int = -1) -> None:
    """Deletes what stands before an offset, or all, as retention does."""
    wanted = {TopicPartition(topic, partition): RecordsToDelete(before_offset=before)}
    async with kafka.admin() as admin:
        await admin._client.delete_records(wanted)


async def leave_open(
    writer: TransactionalWriter, partition: int, outputs: Sequence[Output]
) -> None:
    """Writes the outputs, and ends as a writer does that dies before its commit."""
    await writer._begin()
    for batches in writer._rounds({partition: outputs}):
        await writer._flush(await writer._send(batches))


async def leave_aborted(kafka: Kafka, topic: str, *values: bytes) -> None:
    """Leaves records and a marker in partition 0: a writer died before it committed."""
    name = f"{topic}.died"
    dead = await TransactionalWriter.fence(kafka, name)
    await leave_open(dead, 0, [Output(topic, b"7", value) for value in values])
    successor = await TransactionalWriter.fence(kafka, name)
    await dead.discard()
    await successor.discard()


async def write_facts(kafka: Kafka, topic: str, partitions: int, facts: Sequence[Fact]) -> None:
    async with kafka.idempotent_producer() as producer:
        futures = [
            await producer.send(
                Output(topic, lock_key(fact.lock_id), encode_fact(fact)),
                partition_of(fact.lock_id, partitions),
            )
            for fact in facts
        ]
        await asyncio.gather(*futures)


async def read_all(kafka: Kafka, topic: str, partitions: int | Sequence[int]) -> list[Record]:
    """All committed records that are there now, partition by partition. ``partitions``: how many
    there are, or which of them."""
    numbers = list(range(partitions) if isinstance(partitions, int) else partitions)
    ends = await stable_ends(kafka, topic, numbers)
    found: list[Record] = []
    async with LogReader.open(kafka) as reader:
        async for records in reader.read(topic, dict.fromkeys(numbers, 0), ends):
            found.extend(records)
    return sorted(found, key=lambda record: (record.partition, record.offset))


async def retained(kafka: Kafka, topic: str, partition: int) -> list[Record]:
    """Returns the committed records that retention has left, as far as they come within 0.3 s."""
    tp = TopicPartition(topic, partition)
    async with kafka.offsets_client() as client, kafka.fetcher([topic]) as fetcher:
        fetcher.follow(tp, (await client.beginnings(topic, [partition]))[partition])
        return [record for taken in await fetcher.fetch(0.3) for record in taken.records]


async def shares(kafka: Kafka, group: str, members: int, partitions: int) -> bool:
    """Whether so many members have something of the group's input, and together all of it, none
    of it twice."""
    having = [member.partitions for member in await group_members(kafka, group)]
    owned = sorted(number for numbers in having for number in numbers)
    return len(having) == members and all(having) and owned == list(range(partitions))


async def positions_of(kafka: Kafka, registry_topic: str) -> Positions:
    """What opens the positions in this installation's partner records."""
    return Positions((await read_registry(kafka, registry_topic)).position_key)


async def end_of(kafka: Kafka, topic: str, partition: int) -> int:
    async with kafka.offsets_client() as client:
        return (await client.high_watermarks(topic, [partition]))[partition]
