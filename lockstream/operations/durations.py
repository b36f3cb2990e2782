"""``90d``, ``1h``, and times as people type them. Pure."""

import re
from datetime import UTC, datetime, timedelta

from lockstream.runtime.errors import ConfigurationError

LONGEST = timedelta(days=36500)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"^(\d{1,9})([smhd])\Z")


def read_duration(text: str) -> timedelta:
    """
    Raises:
        ConfigurationError: not a number with one of the units s, m, h, d, or over 100 years.
    """
    match = _DURATION.match(text)
    if match is None:
        raise ConfigurationError(f"{text!r} is not a duration; write 90d, 12h, 30m or 45s")
    seconds = int(match.group(1)) * _SECONDS[match.group(2)]
    if seconds > LONGEST.total_seconds():
        raise ConfigurationError(f"{text!r} is too long: 36500d is the longest")
    return timedelta(seconds=seconds)


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
