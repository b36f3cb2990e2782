"""Looks partners up in the registry for verbs that need one. Pure."""

from eventlog.registry import Registry
from runtime.errors import ConfigurationError
from schemas.registry import Partner


def live_partner(registry: Registry, partner_id: str) -> Partner:
    """Returns a partner that is not removed.

    Raises:
        ConfigurationError: there is none of this id.
    """
    entry = registry.partner(partner_id)
    if entry is None or entry.status == "removed":
        raise no_such_partner(partner_id)
    return entry


def no_such_partner(partner_id: str) -> ConfigurationError:
    return ConfigurationError(
        f"there is no partner {partner_id}; `lockstream partner list` shows all"
    )
