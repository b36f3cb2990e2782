"""Reads durations as settings and options have them: ``90d``, ``1h``. Pure."""

import re
from datetime import timedelta

from runtime.errors import ConfigurationError

LONGEST = timedelta(days=36500)
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z")


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
    seconds = int(match.group(1)) * SECONDS[match.group(2)]
    if not seconds:
        raise ConfigurationError(f"{option}: {text!r} is no time at all; write 45s, for one")
    if seconds > LONGEST.total_seconds():
        raise ConfigurationError(f"{option}: {text!r} is too long: 36500d is the longest")
    return timedelta(seconds=seconds)
