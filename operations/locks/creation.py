"""New locks: their facts, and the wait until commands can use them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

from eventlog.publisher import FactPublisher, Published
from operations.locks.files import LockLine
from operations.shared.installation import Installation
from read_model.rows import LockRow
from runtime.errors import Unavailable
from runtime.tracing import NoTracing
from schemas.lock_facts import Actor, LockCreated, LockCreation
from schemas.primitives import default_lock_uuid, event_id_of_lock_creation, write_time

PUBLISH_S = 30.0
STALL_S = 20.0
PARKED_ASKED_S = 1.0
"""Without progress for as long, the facts may have been parked."""


@asynccontextmanager
async def fact_publisher(here: Installation) -> AsyncIterator[FactPublisher]:
    """
    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    publisher = FactPublisher(
        here.kafka,
        here.settings.topics.lock_facts,
        here.settings.partitions,
        PUBLISH_S,
        NoTracing(),
    )
    try:
        await publisher.start()
        yield publisher
    finally:
        await publisher.close()


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
    return refused | await _wait_until_known(here, by_id, places)


async def _taken_uuids(here: Installation, lines: Sequence[LockLine]) -> dict[int, str]:
    """What the projector would park anyway: nothing of it is recorded."""
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
    """What an existing lock says otherwise. A line without a uuid takes it as it is."""
    if row.org_id != line.org:
        return f"lock {line.id} belongs to {row.org_id}, not to {line.org}"
    if line.uuid is not None and row.lock_uuid != line.uuid:
        return f"lock {line.id} has the uuid {row.lock_uuid}, not {line.uuid}"
    return None


async def _wait_until_known(
    here: Installation, lines: Mapping[int, LockLine], places: Mapping[int, Published]
) -> dict[int, str]:
    loop = asyncio.get_running_loop()
    problems: dict[int, str] = {}
    missing = set(lines)
    progress = parked_asked = loop.time()
    pause = 0.01
    while True:
        rows = await here.read_model.locks(missing)
        problems |= {i: text for i, row in rows.items() if (text := conflict(lines[i], row))}
        missing -= rows.keys()
        if loop.time() - max(progress, parked_asked) > PARKED_ASKED_S:
            parked = await _parked(here, {i: places[i] for i in missing})
            parked_asked = loop.time()
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
    """Of these facts, those that were parked; one of an earlier attempt stands before ours."""
    ids = {event_id_of_lock_creation(lock_id): lock_id for lock_id in places}
    found = await here.read_model.parked_facts(list(ids))
    return {
        ids[event_id]: f"lock {ids[event_id]} could not be created: {row.reason} ({row.detail})"
        for event_id, row in found.items()
        if row.source_offset >= places[ids[event_id]].offset
    }
