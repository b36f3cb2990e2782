"""Decides what a rotation of API keys does to the old ones. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from runtime.errors import ConfigurationError
from schemas.api_keys import is_live
from schemas.primitives import read_time, write_time
from schemas.registry import ApiKey

MAX_OVERLAP = timedelta(days=365)


class Rotation(msgspec.Struct, frozen=True):
    """Says what to rotate. ``org_id``: all its live keys end; ``key_id``: only this one does.
    ``overlap``: how long they stay valid. ``lifetime``: the new key's; None: for ever."""

    org_id: str | None
    key_id: str | None
    overlap: timedelta
    lifetime: timedelta | None = None

    def check(self) -> None:
        """Checks that the request makes sense.

        Raises:
            ConfigurationError: nobody can mean this.
        """
        if self.org_id is None and self.key_id is None:
            raise ConfigurationError("name the organisation (--org) or one key (--id)")
        if self.overlap <= timedelta(0):
            raise ConfigurationError(
                "--overlap: without one the old key ends before its holder has the new one; "
                "`lockstream key revoke` ends a key at once"
            )
        if self.overlap > MAX_OVERLAP:
            raise ConfigurationError(f"--overlap: {MAX_OVERLAP.days}d at most")
        if self.lifetime is not None and self.lifetime <= self.overlap:
            raise ConfigurationError("--expires: the new key would end before the old ones do")


def plan_rotation(wish: Rotation, keys: Sequence[ApiKey], now: datetime) -> list[ApiKey]:
    """Returns the entries of the keys that end, none later than it would have.

    Raises:
        ConfigurationError: there is no such key, or none that is live.
    """
    until = now + wish.overlap
    return [_ending(entry, until) for entry in _chosen(wish, keys, now)]


def _chosen(wish: Rotation, keys: Sequence[ApiKey], now: datetime) -> list[ApiKey]:
    if wish.key_id is None:
        live = [e for e in keys if e.org_id == wish.org_id and is_live(e, now)]
        if not live:
            raise ConfigurationError(
                f"{wish.org_id} has no live key to rotate; "
                f"`lockstream key issue --org {wish.org_id}` makes its first"
            )
        return live
    named = [e for e in keys if e.key_id == wish.key_id]
    if not named:
        raise ConfigurationError(f"there is no key {wish.key_id}; `lockstream key list` shows all")
    if wish.org_id is not None and named[0].org_id != wish.org_id:
        raise ConfigurationError(f"key {wish.key_id} is not one of {wish.org_id}")
    if not is_live(named[0], now):
        raise ConfigurationError(
            f"key {wish.key_id} is revoked or expired; "
            f"`lockstream key issue --org {named[0].org_id}` makes a new one"
        )
    return named


def _ending(entry: ApiKey, until: datetime) -> ApiKey:
    if entry.not_after is not None and read_time(entry.not_after) <= until:
        return entry
    return msgspec.structs.replace(entry, not_after=write_time(until))
