"""What the auditor can find."""

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
    """``offset``: of the record that shows it; of the last one read where a record is missing."""

    kind: Kind
    topic: str
    partition: int
    offset: int
    detail: str
