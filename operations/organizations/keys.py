"""Issues, rotates and revokes API keys in the registry."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from eventlog.registry import Registry
from operations.organizations.key_rotation import Rotation, plan_rotation
from operations.organizations.organizations import check_organization
from operations.shared.durations import read_duration
from operations.shared.installation import Installation
from operations.shared.names import check_name
from runtime.errors import ConfigurationError
from schemas.api_keys import generate_key, hash_key
from schemas.primitives import write_time
from schemas.registry import ApiKey


async def create_key(
    here: Installation, org_id: str, expires: str | None, *, force: bool = False
) -> tuple[ApiKey, str]:
    """Issues a key; returns the registry's entry and the key itself. ``force``: also for an
    organisation that is not registered.

    Raises:
        ConfigurationError: no such organisation.
    """
    check_name("--org", org_id)
    now = datetime.now(UTC)
    not_after = (
        write_time(now + read_duration("--expires", expires)) if expires is not None else None
    )
    entry, secret = _new_key(org_id, now, not_after)

    def edit(registry: Registry) -> Sequence[ApiKey]:
        if not force:
            check_organization(registry, org_id)
        return [entry]

    await here.edit_registry(edit)
    return entry, secret


def _new_key(org_id: str, now: datetime, not_after: str | None) -> tuple[ApiKey, str]:
    key_id, secret = generate_key()
    entry = ApiKey(
        key_id=key_id,
        org_id=org_id,
        sha256=hash_key(secret),
        created_at=write_time(now),
        not_after=not_after,
    )
    return entry, secret


async def rotate_keys(here: Installation, wish: Rotation) -> tuple[ApiKey, str, Sequence[ApiKey]]:
    """Issues a key and lets others end; returns its entry, the key itself, the others' entries.

    Raises:
        ConfigurationError: there is no such key, or none that is live.
    """
    now = datetime.now(UTC)
    not_after = write_time(now + wish.lifetime) if wish.lifetime is not None else None
    # Which organisation's it is shows when the registry is read.
    new, secret = _new_key(wish.org_id or "", now, not_after)

    def edit(registry: Registry) -> Sequence[ApiKey]:
        others = [e for e in registry.all(ApiKey) if e.key_id != new.key_id]
        ending = plan_rotation(wish, others, now)
        return [msgspec.structs.replace(new, org_id=ending[0].org_id), *ending]

    written = await here.edit_registry(edit)
    return written[0], secret, written[1:]


async def revoke_key(here: Installation, key_id: str) -> ApiKey:
    """Revokes a key; returns its entry, with the time of its first revocation.

    Raises:
        ConfigurationError: there is no such key.
    """
    now = write_time(datetime.now(UTC))

    def edit(registry: Registry) -> Sequence[ApiKey]:
        entry = registry.api_key(key_id)
        if entry is None:
            raise ConfigurationError(f"there is no key {key_id}; `lockstream key list` shows all")
        return [msgspec.structs.replace(entry, revoked_at=entry.revoked_at or now)]

    (entry,) = await here.edit_registry(edit)
    return entry
