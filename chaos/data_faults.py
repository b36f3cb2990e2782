"""Injects faults of the read model, and facts that no sound service would write."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import msgspec

from chaos.databases import PostgresUnderTest, SqliteUnderTest
from chaos.history import Attempt, Operation
from chaos.raw_batches import RawRecord, write_batch
from chaos.scene import AT_ONCE_S, Fault, Scene
from chaos.system import PARTITIONS, System
from eventlog.kafka import stable_ends
from eventlog.log_reader import LogReader
from eventlog.records import Output, Record
from schemas.lock_facts import Actor, TempKeyUse, TempKeyUsed, encode_fact
from schemas.parked_facts import ParkedHeaders, Reason
from schemas.primitives import write_time
from schemas.topics import MAX_RECORD_BYTES, lock_key, partition_of

AWAY_S = (4.0, 9.0)
REBUILDS = (3, 5)
REBUILT_WITHIN_S = 120.0
PARKED_WITHIN_S = 60.0
UNKNOWN_LOCK = 999_999_937
BATCH_OVERHEAD = 200
"""Bytes that a record batch takes besides the value, at least."""


def sqlite_faults() -> list[Fault]:
    touches = frozenset({"read model"})
    return [
        Fault("read model: file deleted", touches, _delete),
        Fault("read model: SQLite rebuilt under load", touches, _rebuild),
        Fault("read model: locked by another writer", touches, _lock),
        Fault("read model: disk full", touches, _fill),
    ]


def postgres_faults() -> list[Fault]:
    touches = frozenset({"read model"})
    return [
        Fault("read model: PostgreSQL stopped", touches, _stop_postgres),
        Fault("read model: PostgreSQL rebuilt under load", touches, _rebuild),
        Fault("read model: PostgreSQL paused", touches, _pause_postgres),
    ]


async def _rebuild(scene: Scene) -> None:
    """Rebuilds several times in a row, beside projectors that decide from the read model and
    fold."""
    for _ in range(scene.rng.randint(*REBUILDS)):
        code, output = await scene.system.lockstream("rebuild", timeout_s=REBUILT_WITHIN_S)
        if code and scene.alone:
            scene.broke("the read model can be rebuilt under load", output[-300:])
            return
    await scene.recovers("rebuilt", AT_ONCE_S)


async def _delete(scene: Scene) -> None:
    _sqlite(scene).delete()
    await scene.recovers("deleted", AT_ONCE_S)


async def _lock(scene: Scene) -> None:
    await _sqlite(scene).hold_locked(scene.rng.uniform(*AWAY_S))
    await scene.recovers("unlocked", AT_ONCE_S)


async def _fill(scene: Scene) -> None:
    database = _sqlite(scene)
    if not database.is_small:
        scene.skip("no small file system can be mounted here (it needs root, on Linux)")
        return
    await asyncio.to_thread(database.fill)
    await asyncio.sleep(scene.rng.uniform(*AWAY_S))
    database.empty()
    await scene.recovers("room again", AT_ONCE_S)


async def _stop_postgres(scene: Scene) -> None:
    database = _postgres(scene)
    await database.stop()
    await asyncio.sleep(scene.rng.uniform(*AWAY_S))
    await database.start()
    await scene.recovers("started", AT_ONCE_S)


async def _pause_postgres(scene: Scene) -> None:
    database = _postgres(scene)
    database.pause()
    await asyncio.sleep(scene.rng.uniform(*AWAY_S))
    database.resume()
    await scene.recovers("goes on", AT_ONCE_S)


def _sqlite(scene: Scene) -> SqliteUnderTest:
    assert isinstance(scene.system.database, SqliteUnderTest)
    return scene.system.database


def _postgres(scene: Scene) -> PostgresUnderTest:
    assert isinstance(scene.system.database, PostgresUnderTest)
    return scene.system.database


# -- poison ----------------------------------------------------------------------------------------


class Poison(msgspec.Struct, frozen=True):
    """A record for ``lock-facts``, and the reason that it must be parked for."""

    key: bytes | None
    value: bytes | None
    reason: Reason
    headers: Sequence[tuple[bytes, bytes | None]] = ()


def poison_faults() -> list[Fault]:
    makers: dict[str, Callable[[int], Poison]] = {
        "not JSON": lambda lock: Poison(lock_key(lock), b"\x00\xff{not json", "undecodable"),
        "invalid UTF-8 inside a string": lambda lock: Poison(
            lock_key(lock), _fact(lock).replace(b'"poison"', b'"\xff"'), "undecodable"
        ),
        "a header key that is not UTF-8": lambda lock: Poison(
            lock_key(lock), b"{", "undecodable", ((b"\xff\xfe", b"value"),)
        ),
        "a fact near the size limit": lambda lock: Poison(
            lock_key(lock), _large(lock), "undecodable"
        ),
        "unknown type": lambda lock: Poison(
            lock_key(lock), _fact(lock).replace(b'"TempKeyUsed"', b'"LockMelted"'), "undecodable"
        ),
        "wrong key": lambda lock: Poison(b"7" + lock_key(lock), _fact(lock), "key-mismatch"),
        "no key": lambda lock: Poison(None, _fact(lock), "key-mismatch"),
        "null value": lambda lock: Poison(lock_key(lock), None, "undecodable"),
        "1 MiB value": lambda lock: Poison(
            lock_key(lock), b"x" * (MAX_RECORD_BYTES - BATCH_OVERHEAD), "undecodable"
        ),
        "unknown lock": lambda lock: Poison(
            lock_key(UNKNOWN_LOCK), _fact(UNKNOWN_LOCK), "unknown-lock"
        ),
    }
    faults = [
        Fault(f"poison: {name}", frozenset(), partial(_poison, make))
        for name, make in makers.items()
    ]
    faults.append(Fault("poison: a used event id, another payload", frozenset(), _reuse_id))
    faults.append(Fault("a fact without headers", frozenset(), _bare_fact))
    return faults


def _fact(lock_id: int, temp_key: str = "poison", event_id: str | None = None) -> bytes:
    return encode_fact(
        TempKeyUsed(
            event_id=UUID(event_id) if event_id is not None else uuid4(),
            lock_id=lock_id,
            occurred_at=write_time(datetime.now(UTC)),
            actor=Actor(kind="service", subject="chaos"),
            data=TempKeyUse(temp_key_uuid=temp_key),
        )
    )


def _large(lock_id: int) -> bytes:
    """Makes a fact as large as Kafka takes it, whose event would be larger still."""
    bare = _fact(lock_id)
    fill = MAX_RECORD_BYTES - BATCH_OVERHEAD - len(bare)
    return bare.replace(b'"kind"', b'"keyId":"%b","kind"' % (b"k" * fill))


async def _poison(make: Callable[[int], Poison], scene: Scene) -> None:
    lock = scene.rng.choice(list(scene.system.locks))
    poison = make(lock)
    partition = partition_of(UNKNOWN_LOCK if poison.reason == "unknown-lock" else lock, PARTITIONS)
    begin = await _parked_end(scene.system, partition)
    facts = scene.system.settings.topics.lock_facts
    record = RawRecord(poison.key, poison.value, poison.headers)
    async with asyncio.timeout(PARKED_WITHIN_S):
        offset = await write_batch(scene.system.kafka, facts, partition, [record])
    parked = await _parked(scene.system, partition, begin, offset)
    if _check_parked(scene, poison, f"{partition}:{offset}", parked):
        await scene.recovers("parked", AT_ONCE_S)


def _check_parked(scene: Scene, poison: Poison, place: str, parked: Record | None) -> bool:
    """``parked``: what became of the poison at ``place``. False if nothing did."""
    if parked is None:
        scene.broke("what can't become an event is parked", f"fact {place} is not")
        return False
    reason = ParkedHeaders.from_kafka(parked.headers).reason
    if reason != poison.reason or (parked.key, parked.value) != (poison.key, poison.value):
        scene.broke("a parked fact keeps its bytes and says why", f"{place}: {reason}")
    return True


async def _reuse_id(scene: Scene) -> None:
    """Sends another payload under an id that is taken: it must become no event and change none. If
    it became one, its temp key would be an event from nowhere."""
    assert scene.system.callers is not None
    answered = [o for o in scene.system.callers.operations[-200:] if o.answers]
    if not answered:
        scene.skip("no command has been answered yet")
        return
    before = scene.rng.choice(answered)
    value = _fact(before.lock_id, f"forged-{uuid4().hex}", before.answers[0].event_id)
    partition = partition_of(before.lock_id, PARTITIONS)
    await _write(scene.system, partition, lock_key(before.lock_id), value)
    await scene.recovers("written", AT_ONCE_S)


async def _bare_fact(scene: Scene) -> None:
    """Sends a fact without headers, which are optional: it becomes an event as any other."""
    assert scene.system.callers is not None
    lock = scene.rng.choice(list(scene.system.locks))
    started_at, temp_key = time.monotonic(), f"bare-{uuid4().hex}"
    await _write(
        scene.system, partition_of(lock, PARTITIONS), lock_key(lock), _fact(lock, temp_key)
    )
    attempt = Attempt(started_at, time.monotonic(), "pending")
    scene.system.callers.operations.append(Operation(lock, temp_key, None, [attempt]))
    await scene.recovers("written", AT_ONCE_S)


async def _write(system: System, partition: int, key: bytes | None, value: bytes | None) -> int:
    topic = system.settings.topics.lock_facts
    async with (
        asyncio.timeout(PARKED_WITHIN_S),
        system.kafka.idempotent_producer() as producer,
    ):
        return (await producer.send_and_wait(Output(topic, key, value), partition)).offset


async def _parked_end(system: System, partition: int) -> int:
    async with system.kafka.offsets_client() as client:
        topic = system.settings.topics.parked_facts
        return (await client.high_watermarks(topic, [partition]))[partition]


async def _parked(system: System, partition: int, begin: int, offset: int) -> Record | None:
    """Returns the parked record of the fact at this offset, once there is one."""
    topic = system.settings.topics.parked_facts
    deadline = time.monotonic() + PARKED_WITHIN_S
    while time.monotonic() < deadline:
        end = (await stable_ends(system.kafka, topic, [partition]))[partition]
        async with LogReader.open(system.kafka) as reader:
            async for records in reader.read(topic, {partition: begin}, {partition: end}):
                for record in records:
                    if ParkedHeaders.from_kafka(record.headers).source_offset == offset:
                        return record
        await asyncio.sleep(0.1)
    return None
