"""Holds partners back and lets them go together, each far behind."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

import msgspec

from chaos.history import Attempt, Operation, Outcome
from chaos.replicas import Replica
from chaos.scene import AT_ONCE_S, SESSION_S, Fault, Scene
from chaos.system import PARTITIONS, PROBE_ORG, System
from eventlog.clients.producer import Producer, Written
from eventlog.groups import read_groups
from eventlog.kafka import stable_ends
from eventlog.records import Output
from eventlog.registry import Registry, edit_registry
from eventlog.topic_setup import ensure_topics
from operations.partners.progress import fanout_group
from schemas.lock_facts import Actor, TempKeyUse, TempKeyUsed, encode_fact
from schemas.primitives import write_time
from schemas.registry import Partner
from schemas.topic_configs import partner_topic
from schemas.topics import lock_key, partition_of

HELD_BACK = tuple(f"held-back-{number}" for number in range(1, 11))
BEHIND = 20_000
"""Events that are recorded while they wait: so many behind ten partners took 813 MiB when memory
was bounded for each partition of a partner, not for the process."""
SENT_AT_ONCE = 500
SENT_WITHIN_S = 60.0
CAUGHT_UP_S = 150.0
"""Seconds until ten partners have so many, and what came meanwhile: 1,300 deliveries a second at
least. An idle machine of two cores makes 14,000 beside nothing else; here commands go first."""
LOOK_S = 1.0


def partner_faults() -> list[Fault]:
    touches = frozenset({"fanout"})
    return [Fault("partners held back, let go together", touches, _let_go, 0.25)]


async def _let_go(scene: Scene) -> None:
    """Lets one fan-out replica serve them all. What they get is audited at the end of the run."""
    system = scene.system
    replica = scene.pick("fanout")
    await replica.stop()
    try:
        await scene.recovers("one replica of the fan-out left", SESSION_S)
        await _record_events(system, BEHIND)
        if (await system.recovery(time.monotonic(), SENT_WITHIN_S)).commands_s is None:
            scene.skip(f"{BEHIND:,} events were not recorded in {SENT_WITHIN_S:.0f} s")
            return
        ends = await stable_ends(
            system.kafka, system.settings.topics.lock_events, list(range(PARTITIONS))
        )
        entries = await _hold_back(system, "active")
        started_at = time.monotonic()
        await scene.recovers("let go", AT_ONCE_S)
        late = await _until_caught_up(
            system, entries, ends, started_at + CAUGHT_UP_S * scene.patience
        )
        _check_caught_up(scene, late, time.monotonic() - started_at)
        for served_by in system.fleet.running("fanout"):
            _check_memory(scene, served_by)
    finally:
        await _hold_back(system, "paused")
        system.start_replica(replica)
    await scene.recovers("held back again", AT_ONCE_S)


def _check_caught_up(scene: Scene, late: Sequence[str], took_s: float) -> None:
    """``late``: partners that still lack events."""
    if late and scene.alone:
        detail = f"after {took_s:.0f} s behind: {', '.join(late)}"
        scene.broke("partners that were held back catch up", detail)


def _check_memory(scene: Scene, replica: Replica) -> None:
    """Checks memory now: a process that another fault ends takes its peak with it."""
    if said := replica.memory_exceeded():
        scene.broke("memory stays bounded", said)


async def _record_events(system: System, count: int) -> None:
    """Records events as fast as Kafka takes them, on all locks of the partners' organisation."""
    assert system.callers is not None
    locks = [lock for lock, org in system.locks.items() if org == PROBE_ORG]
    uses = [(locks[n % len(locks)], f"behind-{uuid4().hex}") for n in range(count)]
    started_at = time.monotonic()
    outcome: Outcome = "unknown"
    try:
        async with (
            asyncio.timeout(SENT_WITHIN_S),
            system.kafka.idempotent_producer() as producer,
        ):
            for first in range(0, count, SENT_AT_ONCE):
                some = uses[first : first + SENT_AT_ONCE]
                await asyncio.gather(*[await _send(system, producer, *use) for use in some])
        outcome = "pending"
    finally:
        attempt = Attempt(started_at, time.monotonic(), outcome)
        system.callers.operations += [Operation(*use, None, [attempt]) for use in uses]


async def _send(
    system: System, producer: Producer, lock_id: int, temp_key: str
) -> asyncio.Future[Written]:
    fact = TempKeyUsed(
        event_id=uuid4(),
        lock_id=lock_id,
        occurred_at=write_time(datetime.now(UTC)),
        actor=Actor(kind="service", subject="chaos"),
        data=TempKeyUse(temp_key_uuid=temp_key),
    )
    return await producer.send(
        Output(system.settings.topics.lock_facts, lock_key(lock_id), encode_fact(fact)),
        partition_of(lock_id, PARTITIONS),
    )


async def _hold_back(system: System, status: Literal["active", "paused"]) -> list[Partner]:
    """Holds all of them back at once. They are registered the first time, from the beginning on."""
    topics = system.settings.topics

    def edit(registry: Registry) -> Sequence[Partner]:
        return [
            msgspec.structs.replace(registry.partner(name) or _new(name), status=status)
            for name in HELD_BACK
        ]

    entries = await edit_registry(system.kafka, topics.registry, edit)
    await ensure_topics(
        system.kafka,
        system.settings,
        [partner_topic(system.settings.topics, name) for name in HELD_BACK],
    )
    return list(entries)


def _new(name: str) -> Partner:
    return Partner(
        id=name,
        org_id=PROBE_ORG,
        types=("*",),
        start_offsets=(0,) * PARTITIONS,
        created_at=write_time(datetime.now(UTC)),
    )


async def _until_caught_up(
    system: System, entries: Sequence[Partner], ends: Mapping[int, int], deadline: float
) -> list[str]:
    """Waits; returns who has not caught up, by the checkpoints."""
    groups = [fanout_group(system.settings, entry) for entry in entries]
    while True:
        states = await read_groups(system.kafka, groups)
        late = [
            entry.id
            for entry, state in zip(entries, states, strict=True)
            if any(state.progress[p].position < end for p, end in ends.items())
        ]
        if not late or time.monotonic() > deadline:
            return late
        await asyncio.sleep(LOOK_S)
