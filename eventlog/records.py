"""Defines the shapes of what is read from Kafka and written to it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from aiokafka.structs import TopicPartition as TopicPartition

from schemas.primitives import Headers


class Record(msgspec.Struct, frozen=True, gc=False):
    """Holds one record as read. ``timestamp_ms``: milliseconds since 1970-01-01 UTC."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class FetchedRecord(Protocol):
    """Describes a record as aiokafka hands it over, for whoever needs no copy of it."""

    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


Fetched = Mapping[TopicPartition, Sequence[FetchedRecord]]
"""What one poll has brought, in order within each partition."""


class Output(msgspec.Struct, frozen=True, gc=False):
    """Holds one record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


def to_record(message: FetchedRecord) -> Record:
    return Record(
        message.partition,
        message.offset,
        message.timestamp,
        message.key,
        message.value,
        message.headers,
    )
