"""Checks arguments that several verbs take. Pure."""

import re

from runtime.errors import ConfigurationError
from schemas.primitives import MAX_LOCK_ID, NAME_PATTERN


def check_name(option: str, name: str) -> None:
    """Checks the id of an organisation or a partner.

    Raises:
        ConfigurationError: not an organisation's or partner's id.
    """
    if re.match(NAME_PATTERN, name) is None:
        raise ConfigurationError(
            f"{option}: {name!r} is not an id; use 1 to 64 letters, digits, '.', '_' or '-'"
        )


def check_lock_id(option: str, lock_id: int) -> None:
    """Checks the id of a lock.

    Raises:
        ConfigurationError: out of range.
    """
    if not 1 <= lock_id <= MAX_LOCK_ID:
        raise ConfigurationError(f"{option}: a lock id is an integer from 1 to {MAX_LOCK_ID}")
