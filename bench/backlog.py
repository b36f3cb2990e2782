"""A backlog of facts for the projector: how fast it drains, and what memory it takes meanwhile."""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec
import uuid_utils

from lockstream.eventlog.kafka import Kafka, connected, high_watermarks
from lockstream.runtime.settings import Settings
from lockstream.schemas.lock_facts import Actor, TempKeyUse, TempKeyUsed, encode_fact
from lockstream.schemas.topics import TopicNames, lock_key, partition_of

PARTITIONS = 12
WINDOW = 20_000
STALL_S = 60.0


class Drained(msgspec.Struct, frozen=True):
    """``memory_mib``: the projector's, at the start and after each tenth of the facts."""

    facts: int
    facts_per_second: float
    memory_mib: list[float]


async def publish(kafka: Kafka, count: int, locks: Sequence[int]) -> None:
    """Facts as any trusted service may write them, in the order of its choosing."""
    actor = Actor(kind="service", subject="bench", org_id="demo")
    topic = TopicNames().lock_facts
    async with connected(kafka.idempotent_producer()) as producer:
        for begin in range(0, count, WINDOW):
            futures = []
            for n in range(begin, min(count, begin + WINDOW)):
                lock_id = locks[n % len(locks)]
                fact = TempKeyUsed(
                    event_id=UUID(bytes=uuid_utils.uuid7().bytes),
                    lock_id=lock_id,
                    occurred_at="2026-11-23T10:00:00.000Z",
                    actor=actor,
                    data=TempKeyUse(temp_key_uuid=f"key-{n % 5000}", user_id="user"),
                )
                futures.append(
                    await producer.send(
                        topic,
                        encode_fact(fact),
                        key=lock_key(lock_id),
                        partition=partition_of(lock_id, PARTITIONS),
                    )
                )
            await asyncio.gather(*futures)


async def drain(
    servers: str, count: int, locks: Sequence[int], memory: Callable[[], float]
) -> Drained:
    """
    Raises:
        TimeoutError: nothing comes out for a minute.
    """
    kafka = Kafka(Settings(kafka_bootstrap_servers=servers), "bench")
    topic, numbers = TopicNames().lock_events, list(range(PARTITIONS))
    memories = [memory()]
    async with connected(kafka.offsets_client()) as client:

        async def events() -> int:
            return sum((await high_watermarks(client, topic, numbers)).values())

        before = await events()
        publishing = asyncio.create_task(publish(kafka, count, locks))
        begun = last_progress = time.monotonic()
        done = 0
        while done < count:
            await asyncio.sleep(0.2)
            # Markers are counted too: a few in a thousand.
            now_done = await events() - before
            if now_done > done:
                last_progress = time.monotonic()
            done = now_done
            if done * 10 // count > len(memories) - 1:
                memories.append(memory())
            if time.monotonic() - last_progress > STALL_S:
                raise TimeoutError(f"the projector made no progress after {done} events")
        took = time.monotonic() - begun
        await publishing
    memories.append(memory())
    return Drained(count, count / took, memories)
