"""Reads durations (``90d``, ``1h``) and times as people type them. Pure."""

import re
from datetime import UTC, datetime, timedelta

from runtime.errors import ConfigurationError

LONGEST = timedelta(days=36500)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?\Z",
    re.IGNORECASE,
)


def read_duration(option: str, text: str) -> timedelta:
    """Reads a duration.

    Raises:
        ConfigurationError: not a number with one of the units s, m, h, d, no time at all, or over
            100 years.
    """
    match = _DURATION.match(text.strip())
    if match is None:
        raise ConfigurationError(
            f"{option}: {text!r} is not a duration; write 90d, 12h, 30m or 45s"
        )
    seconds = int(match.group(1)) * _SECONDS[match.group(2)]
    if not seconds:
        raise ConfigurationError(f"{option}: {text!r} is no time at all; write 45s, for one")
    if seconds > LONGEST.total_seconds():
        raise ConfigurationError(f"{option}: {text!r} is too long: 36500d is the longest")
    return timedelta(seconds=seconds)


def read_moment(text: str) -> datetime:
    """Reads a date or a time; without a time zone, as UTC.

    Raises:
        ConfigurationError: neither.
    """
    refusal = ConfigurationError(
        f"{text!r} is not a time; write 2026-11-23 or 2026-11-23T10:00:00Z"
    )
    # `fromisoformat` reads more (20261123, 2026-W48), which might be meant otherwise.
    if _MOMENT.match(text) is None:
        raise refusal
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise refusal from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
