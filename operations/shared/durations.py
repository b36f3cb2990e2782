"""Reads times and durations as people type them, and writes durations. Pure."""

import re
from datetime import UTC, datetime

from runtime.durations import SECONDS
from runtime.durations import read_duration as read_duration
from runtime.errors import ConfigurationError

_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?\Z",
    re.IGNORECASE,
)


def write_duration(seconds: float) -> str:
    """Writes a duration by its two largest units: ``3d 4h``, ``5m``, ``0.2s``."""
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    left = int(seconds)
    parts: list[str] = []
    for unit, size in reversed(SECONDS.items()):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)


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
