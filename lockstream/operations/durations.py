"""``90d``, ``1h``, and times as people type them. Pure."""

import re
from datetime import UTC, datetime, timedelta

from lockstream.runtime.errors import ConfigurationError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"^(\d{1,9})([smhd])\Z")


def read_duration(text: str) -> timedelta:
    """
    Raises:
        ConfigurationError: not a number with one of the units s, m, h, d.
    """
    match = _DURATION.match(text)
    if match is None:
        raise ConfigurationError(f"{text!r} is not a duration; write 90d, 12h, 30m or 45s")
    return timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


def read_moment(text: str) -> datetime:
    """A date or a time; without a time zone, UTC.

    Raises:
        ConfigurationError: neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is not a time; write 2026-11-23 or 2026-11-23T10:00:00Z"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
