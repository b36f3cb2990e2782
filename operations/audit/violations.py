"""Names what the auditor can find."""

from typing import Literal

import msgspec

Kind = Literal[
    "unreadable-record",
    "version-gap",
    "version-repeated",
    "duplicate-event-id",
    "wrong-partition",
    "lock-uuid-changed",
    "lock-uuid-shared",
    "used-count-wrong",
    "source-offset-not-increasing",
    "fact-passed-over",
    "event-without-fact",
    "partner-event-missing",
    "partner-event-foreign",
    "partner-event-altered",
    "partner-sequence-gap",
    "read-model-differs",
    "read-model-empty",
]


class Violation(msgspec.Struct, frozen=True):
    """Describes a broken promise. ``offset``: that of the record that shows it. Where a record is
    missing, ``offset`` is that of the last one read."""

    kind: Kind
    topic: str
    partition: int
    offset: int
    detail: str
