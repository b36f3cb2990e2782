"""Reads which types of events are meant. Pure."""

from runtime.errors import ConfigurationError
from schemas.lock_events import EVENT_TYPES

TYPES_HELP = f"Comma-separated event types: {', '.join(EVENT_TYPES)}; '*' for all."


def read_types(text: str) -> tuple[str, ...]:
    """Reads a list of event types.

    Raises:
        ConfigurationError: a type that doesn't exist would match nothing, for ever, in silence.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in (*EVENT_TYPES, "*")]
    if unknown or not names:
        raise ConfigurationError(
            f"--types: {unknown[0] if unknown else text!r} is not an event type; "
            f"there are {', '.join(EVENT_TYPES)}, and '*' for all"
        )
    return names
