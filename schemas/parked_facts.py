"""Defines the topic ``lock-facts.parked``: facts that can't become events.

Key and value: the original record's, byte for byte. Headers: the original's, then those of
``ParkedHeaders``, which say why and where from.
"""

import re
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from schemas.primitives import NAME_PATTERN, Headers, WrittenTime
from schemas.records import BadRecord, LogRecord, Place
from schemas.undecodable import NamedHeaders, Undecodable

Reason = Literal[
    "undecodable",
    "key-mismatch",
    "wrong-partition",
    "unknown-lock",
    "lock-exists",
    "uuid-taken",
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
    def read(cls, topic: str, record: LogRecord) -> "ParkedHeaders":
        """Reads the headers of a record of ``topic``.

        Raises:
            BadRecord: as ``from_kafka``.
        """
        try:
            return cls.from_kafka(record.headers)
        except Undecodable as error:
            raise BadRecord(Place.of(topic, record), error) from error

    @classmethod
    def from_kafka(cls, headers: Headers) -> "ParkedHeaders":
        """Reads our headers, which come last: those before ``parked-reason`` are the fact's own.

        Raises:
            Undecodable: a header is missing or is not what it should be.
        """
        own = headers[_own_begin(headers) :]
        named, given = NamedHeaders(own), {name for name, _ in own}
        try:
            parked = cls(
                reason=msgspec.convert(named.text("parked-reason"), Reason),
                detail=named.text("parked-detail"),
                source_topic=named.text("source-topic"),
                source_offset=named.number("source-offset"),
                parked_at=named.text("parked-at"),
                event_id=str(UUID(named.text("event-id"))) if "event-id" in given else None,
                lock_id=named.number("lock-id") if "lock-id" in given else None,
                org_id=named.text("org-id") if "org-id" in given else None,
            )
        except ValueError as error:
            raise Undecodable(str(error)) from error
        # What no projector writes, and no database holds.
        if "\0" in parked.detail:
            raise Undecodable("the header 'parked-detail' holds a null character")
        if parked.org_id is not None and re.match(NAME_PATTERN, parked.org_id) is None:
            raise Undecodable("the header 'org-id' is no organisation's id")
        return parked


def original_headers(headers: Headers) -> Headers:
    """Returns the headers that the fact had before it was parked.

    Raises:
        Undecodable: this is no parked record.
    """
    return headers[: _own_begin(headers)]


def _own_begin(headers: Headers) -> int:
    names = [name for name, _ in headers]
    if "parked-reason" not in names:
        raise Undecodable("the header 'parked-reason' is missing")
    return len(names) - 1 - names[::-1].index("parked-reason")
