"""Topic ``lock-facts.parked``: facts that can't become events.

Key and value: the original record's, byte for byte. Headers: the original's, then those of
``ParkedHeaders``, which say why and where from.
"""

from typing import Annotated, Literal

import msgspec

from lockstream.schemas.lock_events import Headers
from lockstream.schemas.primitives import WrittenTime

Reason = Literal[
    "undecodable",
    "key-mismatch",
    "wrong-partition",
    "unknown-lock",
    "lock-exists",
    "organization-mismatch",
]


_RENAMED = {"reason": "parked-reason", "detail": "parked-detail", "parked_at": "parked-at"}


def _header_name(field: str) -> str:
    return _RENAMED.get(field, field.replace("_", "-"))


class ParkedHeaders(msgspec.Struct, frozen=True, omit_defaults=True, rename=_header_name):
    """``event_id``, ``lock_id`` and ``org_id`` are None where the fact could not be read."""

    reason: Reason
    detail: Annotated[str, msgspec.Meta(description="The reason in a sentence, for a person")]
    source_topic: str
    source_offset: Annotated[int, msgspec.Meta(description="Where the fact was, same partition")]
    parked_at: WrittenTime
    event_id: str | None = None
    lock_id: int | None = None
    org_id: str | None = None

    def to_kafka(self) -> Headers:
        headers: Headers = (
            ("parked-reason", self.reason.encode()),
            ("parked-detail", self.detail.encode()),
            ("parked-at", self.parked_at.encode()),
            ("source-topic", self.source_topic.encode()),
            ("source-offset", b"%d" % self.source_offset),
        )
        if self.event_id is not None:
            headers += (("event-id", self.event_id.encode()),)
        if self.lock_id is not None:
            headers += (("lock-id", b"%d" % self.lock_id),)
        if self.org_id is not None:
            headers += (("org-id", self.org_id.encode()),)
        return headers

    @classmethod
    def from_kafka(cls, headers: Headers) -> "ParkedHeaders":
        """Ours come last: what stands before ``parked-reason`` is the original record's.

        Raises:
            ValueError: a header is missing or is not what it should be.
        """
        begin = _own_begin(headers)
        own = {name: value.decode() for name, value in headers[begin:]}
        return msgspec.convert(own, cls, strict=False)


def original_headers(headers: Headers) -> Headers:
    """The headers that the fact had before it was parked.

    Raises:
        ValueError: this is no parked record.
    """
    return headers[: _own_begin(headers)]


def _own_begin(headers: Headers) -> int:
    names = [name for name, _ in headers]
    if "parked-reason" not in names:
        raise ValueError("the header 'parked-reason' is missing")
    return len(names) - 1 - names[::-1].index("parked-reason")
