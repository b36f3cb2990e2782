"""Writes facts in bulk, as any trusted service may."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from uuid import UUID

import uuid_utils

from eventlog.kafka import Kafka
from eventlog.records import Output
from runtime.settings import Settings
from schemas.lock_facts import (
    Actor,
    Fact,
    LockCreated,
    LockCreation,
    TempKeyUse,
    TempKeyUsed,
    encode_fact,
)
from schemas.primitives import default_lock_uuid
from schemas.topics import lock_key, partition_of

WINDOW = 10_000
NOW = "2026-11-23T10:00:00.000Z"


def _creations(org_id: str, locks: Sequence[int]) -> Iterable[Fact]:
    actor = Actor(kind="operator", subject="bench")
    for lock_id in locks:
        yield LockCreated(
            event_id=UUID(bytes=uuid_utils.uuid7().bytes),
            lock_id=lock_id,
            occurred_at=NOW,
            actor=actor,
            data=LockCreation(default_lock_uuid(lock_id), org_id),
        )


def _uses(org_id: str, count: int, locks: Sequence[int]) -> Iterable[Fact]:
    """Yields ``count`` uses, spread over the locks in turn."""
    actor = Actor(kind="service", subject="bench", org_id=org_id)
    for n in range(count):
        yield TempKeyUsed(
            event_id=UUID(bytes=uuid_utils.uuid7().bytes),
            lock_id=locks[n % len(locks)],
            occurred_at=NOW,
            actor=actor,
            data=TempKeyUse(temp_key_uuid=f"key-{n % 5000}", user_id="user"),
        )


def publish(settings: Settings, org_id: str, locks: Sequence[int], uses: int = 0) -> int:
    """Writes the creations of the locks, and then uses of them; returns how many facts."""
    facts = chain(_creations(org_id, locks), _uses(org_id, uses, locks))
    asyncio.run(_publish(settings, facts))
    return len(locks) + uses


async def _publish(settings: Settings, facts: Iterable[Fact]) -> None:
    topic, partitions = settings.topics.lock_facts, settings.partitions
    left = iter(facts)
    async with Kafka(settings, "bench").idempotent_producer() as producer:
        while window := list(islice(left, WINDOW)):
            futures = [
                await producer.send(
                    Output(topic, lock_key(fact.lock_id), encode_fact(fact)),
                    partition_of(fact.lock_id, partitions),
                )
                for fact in window
            ]
            await asyncio.gather(*futures)
