"""Describes what every reader of a topic has of a record, and says where one stands."""

from typing import Protocol

import msgspec

from schemas.primitives import Headers


class LogRecord(Protocol):
    """Describes a record as a reader hands it over, whatever client has read it."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class Place(msgspec.Struct, frozen=True, gc=False):
    """Says where a record stands; prints as ``lock-events[3] offset 42``."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, topic: str, record: LogRecord) -> "Place":
        return cls(topic, record.partition, record.offset)

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}] offset {self.offset}"


class BadRecord(ValueError):
    """A record is not what its topic holds. The text names its place and says why."""

    def __init__(self, place: Place, why: object) -> None:
        super().__init__(f"{place}: {why}")
