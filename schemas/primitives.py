"""Defines the value types that several records share, and how times are written."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid5

import msgspec

Headers = tuple[tuple[str, bytes], ...]
"""A record's headers, in order. A name may occur more than once."""

MAX_LOCK_ID = 2**63 - 1
"""Lock ids are signed 64-bit so that every database and partner language can hold them."""

LockId = Annotated[int, msgspec.Meta(ge=1, le=MAX_LOCK_ID, description="Lock ID (numeric)")]

LockUuid = Annotated[UUID, msgspec.Meta(description="The lock's UUID: the aggregate's id")]

EventId = Annotated[
    UUID,
    msgspec.Meta(
        description="Names what happened: the same in the fact, the event and the partners' records"
    ),
]

EventIdText = Annotated[
    str, msgspec.Meta(description="The event's id", extra_json_schema={"format": "uuid"})
]
"""In headers, which are text."""

OPAQUE_TEXT_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
"""No control characters (Unicode category Cc)."""

OpaqueText = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=128,
        pattern=OPAQUE_TEXT_PATTERN,
        description="An opaque identifier: 1 to 128 characters, no control characters",
    ),
]

Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]

NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}\Z"
Name = Annotated[
    str,
    msgspec.Meta(pattern=NAME_PATTERN, description="Letters, digits, '.', '_' and '-'; 1 to 64"),
]
"""An organisation's or a partner's id."""

Timestamp = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})\Z",
        description="RFC 3339 date-time",
        extra_json_schema={"format": "date-time"},
    ),
]

WrittenTime = Annotated[
    str,
    msgspec.Meta(
        description="UTC with milliseconds (RFC 3339)", extra_json_schema={"format": "date-time"}
    ),
]
"""What ``write_time`` has made."""

_VERSION_BITS = 0xF << 76 | 0x3 << 62
_VERSION_7 = 7 << 76 | 0x2 << 62
"""The version, and the variant whose versions these are (RFC 9562, section 4)."""

_COMMAND_NAMESPACE = UUID("5f7ab8a2-8f0f-5d0c-9f0a-3c1b6a6f2f11")
_LOCK_NAMESPACE = UUID("0d0f4c8e-5a26-5c7c-8a54-9f6de0b6a7c3")
_LOCK_CREATED_NAMESPACE = UUID("c1a7f1de-42b4-5b5f-a5a7-2f6f6b6f0d77")


def event_id_of_idempotency_key(org_id: str, idempotency_key: str) -> UUID:
    """Returns the event id that every use of this key by this organisation gets (a UUIDv5)."""
    return uuid5(_COMMAND_NAMESPACE, f"{org_id}\n{idempotency_key}")


def event_id_of_lock_creation(lock_id: int) -> UUID:
    """Returns the event id of a lock's creation, so that an import can be run again without
    harm."""
    return uuid5(_LOCK_CREATED_NAMESPACE, str(lock_id))


def default_lock_uuid(lock_id: int) -> UUID:
    """Returns the aggregate id of a lock that was added without one."""
    return uuid5(_LOCK_NAMESPACE, str(lock_id))


def write_time(moment: datetime) -> str:
    """Writes an aware datetime as RFC 3339 in UTC with milliseconds: ``2026-11-23T10:00:00.123Z``.

    Raises:
        OverflowError: in UTC it is before the year 1 or after 9999.
    """
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(text: str) -> datetime:
    """Parses what the ``Timestamp`` pattern accepts.

    Raises:
        ValueError: it matches the pattern but names no moment (a 13th month, say).
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment


def printable(text: str) -> str:
    """Escapes control characters: every log, header and database takes the text."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def epoch_ms(moment: datetime) -> int:
    """Returns milliseconds since 1970-01-01 UTC, rounded down."""
    return int(moment.timestamp() * 1000)


def id_time_ms(event_id: UUID) -> int:
    """Returns the creation time inside a UUIDv7, in milliseconds since 1970; -1 for other versions.

    Source: RFC 9562, section 5.7.
    """
    number = event_id.int
    return number >> 80 if number & _VERSION_BITS == _VERSION_7 else -1
