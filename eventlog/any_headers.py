"""Reads record batches whose header keys are not UTF-8, which any other writer may produce.

aiokafka reads header keys as UTF-8, and raises UnicodeDecodeError where one is not.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.util import decode_varint


def bearing_records(whole: memoryview) -> Iterator[Any]:
    """Yields the records of a batch. In their header keys, bytes that are no UTF-8 come escaped (a
    backslash, ``xff``): as text that can be written and shown."""
    return iter(_BearingBatch(bytearray(whole)))


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
