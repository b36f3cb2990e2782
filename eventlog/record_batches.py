"""Record batches are read one at a time, and only those of committed transactions.

aiokafka's compiled classes decode the records. It does not check the lengths of what it is given,
so this is done before.
"""

import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from eventlog.any_headers import bearing_records
from eventlog.kafka_errors import KafkaError, errors
from eventlog.records import Record

_length = struct.Struct(">qiib")
_head = struct.Struct(">qiibIhiqqqhii")
_marker = struct.Struct(">hh")
_BEFORE_LENGTH_COUNTS = 12
_LEAST_OLD_BYTES = 26
_TRANSACTIONAL = 0x10
_CONTROL = 0x20
_ABORT = 0


class Batches:
    """Goes over what was fetched of one partition. ``aborted``: as in the broker's answer."""

    def __init__(
        self, partition: int, fetched: memoryview, aborted: tuple[tuple[int, int], ...]
    ) -> None:
        self._partition = partition
        self._fetched = fetched
        self._pos = 0
        self._aborted = sorted(aborted, key=lambda found: found[1], reverse=True)
        self._aborting: set[int] = set()

    def next(self, position: int) -> tuple[list[Record], int] | None:
        """Returns the records of the next batch from an offset on, and the offset behind it. None
        if no whole batch is left: a broker cuts its answer off anywhere.

        Raises:
            KafkaError: it can't be read. The same follows if it is asked again.
        """
        fetched, pos = self._fetched, self._pos
        if len(fetched) - pos < _length.size:
            return None
        _, length, _, magic = _length.unpack_from(fetched, pos)
        end = pos + _BEFORE_LENGTH_COUNTS + length
        if end > len(fetched):
            return None
        least = _head.size if magic >= 2 else _LEAST_OLD_BYTES
        if end - pos < least:
            raise errors.CorruptRecordException(f"a batch of {end - pos} bytes")
        whole = fetched[pos:end]
        found = self._read(whole, position) if magic >= 2 else self._read_old(whole, magic)
        self._pos = end
        records, behind = found
        if records and records[0].offset < position:
            records = [record for record in records if record.offset >= position]
        return records, behind

    def _read(self, whole: memoryview, position: int) -> tuple[list[Record], int]:
        first, _, _, _, _, flags, last, _, _, producer_id, _, _, _ = _head.unpack_from(whole)
        behind = first + last + 1
        while self._aborted and self._aborted[-1][1] < behind:
            self._aborting.add(self._aborted.pop()[0])
        batch = DefaultRecordBatch(whole)
        if flags & _CONTROL:
            _check(batch, first)
            if producer_id in self._aborting and _ends_aborted(batch):
                self._aborting.discard(producer_id)
            return [], behind
        if behind <= position or (flags & _TRANSACTIONAL and producer_id in self._aborting):
            return [], behind
        _check(batch, first)
        try:
            return self._decode(batch), behind
        except UnicodeDecodeError:
            with _damage():
                return self._records(bearing_records(whole)), behind

    def _read_old(self, whole: memoryview, magic: int) -> tuple[list[Record], int]:
        """Reads a message of the formats before transactions, maybe with others inside."""
        batch = LegacyRecordBatch(whole, magic)
        _check(batch, 0)
        return self._decode(batch), batch.next_offset

    def _decode(self, batch: Any) -> list[Record]:
        with _damage():
            return self._records(batch)

    def _records(self, batch: Iterator[Any]) -> list[Record]:
        partition = self._partition
        return [
            Record(
                partition,
                record.offset,
                record.timestamp,
                record.key,
                record.value,
                tuple(record.headers),
            )
            for record in batch
        ]


class _damage:
    """Turns whatever a decoder raises over bytes that are none of its format into Kafka's error."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, (KafkaError, UnicodeDecodeError)):
            raise errors.CorruptRecordException(f"a batch can't be read: {error!r}") from error


def _check(batch: Any, first: int) -> None:
    if not batch.validate_crc():
        raise errors.CorruptRecordException(f"the batch at offset {first} has another checksum")


def _ends_aborted(batch: Any) -> bool:
    with _damage():
        for record in batch:
            _, kind = _marker.unpack_from(record.key)
            return bool(kind == _ABORT)
    raise errors.CorruptRecordException("a control batch without a record")
