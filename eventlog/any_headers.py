"""Lets consumers take records whose header keys are not UTF-8, which any other writer
may produce.

aiokafka reads header keys as UTF-8. Where one is not, its consumer raises UnicodeDecodeError and
loses what it has read before. What we rely on: ``aiokafka.consumer.fetcher`` looks up its
``MemoryRecords`` by that name for each partition that it has fetched, and goes over the batches
that this yields. ``test_poison`` fails if that changes.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

_LOG_OVERHEAD = 12
"""Bytes before what a batch's length counts: its offset, and the length."""


def bear_any_headers() -> None:
    """Makes all consumers of this process take such records. In their keys, bytes that are no UTF-8
    come escaped (a backslash, ``xff``): as text that can be written and shown."""
    fetcher.MemoryRecords = _Fetched


def bearing_records(whole: memoryview) -> Iterator[Any]:
    """Yields the records of a batch whose header keys may be any bytes."""
    return iter(_BearingBatch(bytearray(whole)))


class _Fetched:
    """Stands for ``aiokafka.record.memory_records.MemoryRecords``: what was fetched of one
    partition."""

    def __init__(self, fetched: bytes) -> None:
        self._bytes = memoryview(fetched)
        self._next = 0
        self._records = MemoryRecords(fetched)
        self.size_in_bytes = self._records.size_in_bytes
        self.has_next = self._records.has_next

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        begin = self._next
        length = int.from_bytes(self._bytes[begin + 8 : begin + _LOG_OVERHEAD], "big")
        self._next = begin + _LOG_OVERHEAD + length
        return _Batch(batch, self._bytes[begin : self._next])


class _Batch:
    """Yields a batch's records as aiokafka reads them, until a header key is not UTF-8; then our
    own reader begins the batch again. The fetcher passes over records that it has had already, as
    it does for those before its offset."""

    def __init__(self, batch: Any, whole: memoryview) -> None:
        self._batch = batch
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except UnicodeDecodeError:
            yield from _BearingBatch(bytearray(self._whole))


class _BearingBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """Reads a batch with header keys of any bytes. Headers came with version 2 of the format, so no
    other version has them."""

    def _read_msg(self, *_: Any) -> Any:
        try:
            return self._read()
        except IndexError as error:
            raise CorruptRecordException("a record ends before it should") from error

    def _read(self) -> Any:
        buffer: bytearray = self._buffer
        begin: int = self._pos
        length, pos = decode_varint(buffer, begin)
        end = pos + length
        _, pos = decode_varint(buffer, pos)  # attributes: there are none
        since_first, pos = decode_varint(buffer, pos)
        stamped_by_broker = self.timestamp_type == self.LOG_APPEND_TIME
        timestamp = self.max_timestamp if stamped_by_broker else self.first_timestamp + since_first
        offset_delta, pos = decode_varint(buffer, pos)
        key, pos = _read_bytes(buffer, pos)
        value, pos = _read_bytes(buffer, pos)
        count, pos = decode_varint(buffer, pos)
        headers = []
        for _ in range(count):
            name, pos = _read_bytes(buffer, pos)
            if name is None:
                raise CorruptRecordException("a header has no key")
            header_value, pos = _read_bytes(buffer, pos)
            headers.append((name.decode("utf-8", "backslashreplace"), header_value))
        if pos != end:
            raise CorruptRecordException(f"a record of {length} bytes ends {pos - end} after that")
        self._pos: int = pos
        return _DefaultRecordPy(
            self.base_offset + offset_delta, timestamp, self.timestamp_type, key, value, headers
        )


def _read_bytes(buffer: bytearray, pos: int) -> tuple[bytes | None, int]:
    length, pos = decode_varint(buffer, pos)
    if length < 0:
        return None, pos
    return bytes(buffer[pos : pos + length]), pos + length
