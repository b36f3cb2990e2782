"""Creates locks: publishes their facts, and waits until commands can use them."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from eventlog.publisher import FactPublisher, Published
from operations.locks.files import LockLine
from operations.shared.installation import Installation
from read_model.rows import LockRow
from runtime.errors import ConfigurationError, Unavailable
from schemas.lock_facts import Actor, LockCreated, LockCreation
from schemas.primitives import default_lock_uuid, event_id_of_lock_creation, write_time
from schemas.topics import partition_of

PUBLISH_S = 30.0
STALL_S = 20.0
LOOK_FOR_PARKED_S = 1.0
"""Seconds without progress, after which the facts may have been parked."""


async def ensure_lock(here: Installation, line: LockLine) -> bool:
    """Creates a lock; returns False if it was there before.

    Raises:
        ConfigurationError: it could not be created, or somebody else was quicker.
        Unavailable: Kafka, the read model or the projector.
    """
    if await here.read_model.known_lock_ids([line.id]):
        return False
    async with here.fact_publisher(PUBLISH_S) as publisher:
        problems = await create_locks(here, publisher, [line])
    for problem in problems.values():
        raise ConfigurationError(problem)
    return True


async def create_locks(
    here: Installation, publisher: FactPublisher, lines: Sequence[LockLine]
) -> dict[int, str]:
    """Records that these locks exist and waits until commands can use them. Returns, by lock id,
    why a lock is not as its line says: another lock has its UUID, somebody else's fact came first,
    or ours was parked.

    Raises:
        KafkaUnavailable: not all facts were taken.
        OutcomeUnknown: as before, but they may have been.
        Unavailable: the projector makes no progress.
    """
    refused = await _taken_uuids(here, lines)
    free = [line for line in lines if line.id not in refused]
    published = await asyncio.gather(*(publisher.publish(_creation(line)) for line in free))
    by_id = {line.id: line for line in free}
    places = {line.id: at for line, at in zip(free, published, strict=True)}
    return refused | await _wait_until_folded(here, by_id, places)


async def _taken_uuids(here: Installation, lines: Sequence[LockLine]) -> dict[int, str]:
    """Finds the locks that the projector would park because another lock has their UUID."""
    uuids = {line.id: _uuid_of(line) for line in lines}
    owners = await here.read_model.uuid_owners(list(uuids.values()))
    return {
        lock_id: f"lock {lock_id} would get the uuid {uuid}, which lock {owners[uuid]} has; "
        "give it another"
        for lock_id, uuid in uuids.items()
        if owners.get(uuid, lock_id) != lock_id
    }


def _uuid_of(line: LockLine) -> UUID:
    return line.uuid or default_lock_uuid(line.id)


def _creation(line: LockLine) -> LockCreated:
    return LockCreated(
        event_id=event_id_of_lock_creation(line.id),
        lock_id=line.id,
        occurred_at=write_time(datetime.now(UTC)),
        actor=Actor(kind="operator", subject="lockstream lock", org_id=line.org),
        data=LockCreation(lock_uuid=_uuid_of(line), org_id=line.org),
    )


def conflict(line: LockLine, row: LockRow) -> str | None:
    """Says how a lock that exists differs from its line; a line without a uuid takes any."""
    if row.org_id != line.org:
        return f"lock {line.id} belongs to {row.org_id}, not to {line.org}"
    if line.uuid is not None and row.lock_uuid != line.uuid:
        return f"lock {line.id} has the uuid {row.lock_uuid}, not {line.uuid}"
    return None


async def _wait_until_folded(
    here: Installation, lines: Mapping[int, LockLine], places: Mapping[int, Published]
) -> dict[int, str]:
    loop = asyncio.get_running_loop()
    problems: dict[int, str] = {}
    missing = set(lines)
    progress = looked_at = loop.time()
    pause = 0.01
    while True:
        rows = await here.read_model.locks(missing)
        problems |= {i: text for i, row in rows.items() if (text := conflict(lines[i], row))}
        missing -= rows.keys()
        if loop.time() - max(progress, looked_at) > LOOK_FOR_PARKED_S:
            parked = await _parked(here, {i: places[i] for i in missing})
            looked_at = loop.time()
            problems |= parked
            missing -= parked.keys()
        if not missing:
            return problems
        if rows:
            progress = loop.time()
        if loop.time() - progress > STALL_S:
            raise Unavailable(
                f"the facts are recorded, but {len(missing)} locks are still not in the read "
                f"model after {STALL_S:.0f} s (lock {min(missing)}, for one): is the projector "
                "running on the same READ_MODEL_URL?"
            )
        await asyncio.sleep(pause)
        pause = min(0.2, pause * 1.5)


async def _parked(here: Installation, places: Mapping[int, Published]) -> dict[int, str]:
    """Says which of these facts were parked. Those of an earlier attempt stand before ours."""
    ids = {event_id_of_lock_creation(lock_id): lock_id for lock_id in places}
    found = await here.read_model.parked_facts(list(ids))
    return {
        ids[event_id]: f"lock {ids[event_id]} could not be created: {row.reason} ({row.detail})"
        for event_id, row in found.items()
        if row.source_offset >= places[ids[event_id]].offset
    }


async def read_lock(here: Installation, lock_id: int) -> LockRow:
    """Reads a lock from the read model.

    Raises:
        ConfigurationError: there is no such lock.
        ReadModelUnavailable: the database can't be reached.
    """
    row, _ = await here.read_model.lock(lock_id, partition_of(lock_id, here.settings.partitions))
    if row is None:
        raise ConfigurationError(f"there is no lock {lock_id} in the read model")
    return row
