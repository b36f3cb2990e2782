"""Defines the shapes of what is read from Kafka and written to it."""

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


class Output(msgspec.Struct, frozen=True, gc=False):
    """Holds one record to be written. ``source_offset``: of the input that it follows from, None if
    it follows from none."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    source_offset: int | None = None
