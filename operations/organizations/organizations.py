"""Registers organisations, and finds what belongs to each."""

from collections.abc import Sequence
from datetime import UTC, datetime

from eventlog.registry import Registry
from eventlog.topic_setup import ensure_installation
from operations.shared.installation import Installation
from operations.shared.names import check_name
from runtime.errors import ConfigurationError
from schemas.api_keys import is_live
from schemas.primitives import write_time
from schemas.registry import ApiKey, Organization, Partner


async def ensure_organization(here: Installation, org_id: str) -> bool:
    """Registers an organisation; returns False if it was registered before."""
    check_name("--id", org_id)
    await ensure_installation(here.kafka, here.settings)
    entry = Organization(id=org_id, created_at=write_time(datetime.now(UTC)))

    def edit(registry: Registry) -> Sequence[Organization]:
        return [entry] if registry.organization(org_id) in (None, entry) else []

    return bool(await here.edit_registry(edit))


def check_organization(registry: Registry, org_id: str) -> None:
    """Checks that an organisation is registered.

    Raises:
        ConfigurationError: it is not.
    """
    if registry.organization(org_id) is None:
        raise ConfigurationError(
            f"there is no organisation {org_id}; `lockstream org add --id {org_id}` first, or use "
            "--force"
        )


def live_keys(registry: Registry, org_id: str) -> list[ApiKey]:
    now = datetime.now(UTC)
    return [e for e in registry.all(ApiKey) if e.org_id == org_id and is_live(e, now)]


def partners_of(registry: Registry, org_id: str) -> list[Partner]:
    return [e for e in registry.all(Partner) if e.org_id == org_id and e.status != "removed"]
