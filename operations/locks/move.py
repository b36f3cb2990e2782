"""Moves a lock to another organisation."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import uuid_utils

from eventlog.topic_setup import ensure_installation
from operations.locks.creation import PUBLISH_S, STALL_S, read_lock
from operations.organizations.organizations import check_organization
from operations.shared.installation import Installation
from read_model.rows import LockRow
from runtime.errors import ConfigurationError, Unavailable
from schemas.lock_facts import Actor, OrganizationChange, OrganizationSet
from schemas.primitives import write_time

POLL_S = 0.05


class Moved(msgspec.Struct, frozen=True):
    """The lock as it is now. ``changed``: False if it was the organisation's before."""

    lock: LockRow
    changed: bool


async def move_lock(here: Installation, lock_id: int, org_id: str, *, force: bool) -> Moved:
    """Records that the lock belongs to ``org_id``, and waits until the read model says so.
    ``force``: also for an organisation that is not registered.

    Raises:
        ConfigurationError: no such lock, no such organisation, or the fact was parked.
        Unavailable: Kafka, the read model or the projector.
    """
    await ensure_installation(here.kafka, here.settings)
    if not force:
        check_organization(await here.read_registry(), org_id)
    before = await read_lock(here, lock_id)
    if before.org_id == org_id:
        return Moved(before, changed=False)
    event_id = UUID(bytes=uuid_utils.uuid7().bytes)
    fact = OrganizationSet(
        event_id=event_id,
        lock_id=lock_id,
        occurred_at=write_time(datetime.now(UTC)),
        actor=Actor(kind="operator", subject="lockstream lock", org_id=before.org_id),
        data=OrganizationChange(org_id=org_id),
    )
    async with here.fact_publisher(PUBLISH_S) as publisher:
        await publisher.publish(fact)
    await _until_folded(here, event_id)
    return Moved(await read_lock(here, lock_id), changed=True)


async def _until_folded(here: Installation, event_id: UUID) -> None:
    deadline = asyncio.get_running_loop().time() + STALL_S
    while await here.read_model.event(event_id) is None:
        parked = await here.read_model.parked_fact(event_id)
        if parked is not None:
            raise ConfigurationError(f"the lock was not moved: {parked.reason} ({parked.detail})")
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable(
                f"the fact {event_id} is recorded, but not in the read model after {STALL_S:.0f} "
                "s: is the projector running on the same READ_MODEL_URL?"
            )
        await asyncio.sleep(POLL_S)
