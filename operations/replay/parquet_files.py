"""Writes replayed events as Parquet files."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from eventlog.records import Record
from operations.replay.event_files import OUT
from operations.shared.output_files import OutputFolder, output_errors
from schemas.primitives import read_time

PARTS = re.compile(r"lock-events-[0-9]{5}\.parquet(\.part)?")
ROWS_PER_GROUP = 20_000

_TIME = pa.timestamp("ms", tz="UTC")
_NAME = pa.dictionary(pa.int32(), pa.string())
PARQUET_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("event_id", pa.string()),
        ("type", _NAME),
        ("lock_id", pa.int64()),
        ("aggregate_id", pa.string()),
        ("org_id", _NAME),
        ("version", pa.int64()),
        ("occurred_at", _TIME),
        ("recorded_at", _TIME),
        ("actor_kind", _NAME),
        ("actor_subject", pa.string()),
        ("temp_key_uuid", pa.string()),
        ("user_id", pa.string()),
        ("used_count", pa.int64()),
        ("data", pa.string()),
    ]
)
"""``data``: the event's own data as JSON, for types that have no columns of their own."""


class _Actor(msgspec.Struct, gc=False):
    kind: str
    subject: str


class _Event(msgspec.Struct, rename="camel", gc=False):
    """Holds what the columns show of an event, as unchecked text. The projector has checked it.
    Checking again, and making UUIDs only to make text of them, took five times as long as the
    reading."""

    type: str
    event_id: str
    lock_id: int
    occurred_at: str
    actor: _Actor
    aggregate_id: str
    org_id: str
    version: int
    recorded_at: str
    data: msgspec.Raw


class _Use(msgspec.Struct, rename="camel", gc=False):
    temp_key_uuid: str | None = None
    user_id: str | None = None
    used_count: int | None = None


_event_decoder = msgspec.json.Decoder(_Event)
_use_decoder = msgspec.json.Decoder(_Use)
_NO_USE = _Use()


class _Rows(msgspec.Struct):
    """Holds rows of one partition, without an object each, which the garbage collector would
    visit."""

    offsets: list[int] = []
    values: list[bytes] = []


class ParquetSink:
    """Writes one file a partition: ``lock-events-00003.parquet``. The files replace all that an
    earlier export has left in the folder, together and once they are whole."""

    def __init__(self, folder: Path) -> None:
        """Opens the folder.

        Raises:
            ConfigurationError: it can't be written there.
        """
        self._path = folder
        self._folder = OutputFolder(OUT, folder, PARTS.fullmatch)
        self._writers: dict[int, Any] = {}
        self._waiting: dict[int, _Rows] = {}

    def write(self, records: Sequence[Record]) -> None:
        partition = records[0].partition
        waiting = self._waiting.setdefault(partition, _Rows())
        waiting.offsets += [record.offset for record in records]
        waiting.values += [record.value or b"" for record in records]
        if len(waiting.offsets) >= ROWS_PER_GROUP:
            self._write_group(partition)

    def _write_group(self, partition: int) -> None:
        rows = self._waiting.pop(partition)
        table = _table(partition, rows)
        with output_errors(OUT, self._path):
            if partition not in self._writers:
                self._writers[partition] = pq.ParquetWriter(
                    self._folder.path(f"lock-events-{partition:05d}.parquet"),
                    PARQUET_SCHEMA,
                    compression="zstd",
                )
            self._writers[partition].write_table(table)

    def close(self) -> None:
        for partition in list(self._waiting):
            self._write_group(partition)
        with output_errors(OUT, self._path):
            for writer in self._writers.values():
                writer.close()
        self._folder.close()

    def discard(self) -> None:
        for writer in self._writers.values():
            with suppress(OSError):
                writer.close()
        self._folder.discard()


def _table(partition: int, rows: _Rows) -> Any:
    events = [_event_decoder.decode(value) for value in rows.values]
    uses = [_use_decoder.decode(e.data) if e.type == "TempKeyUsed" else _NO_USE for e in events]
    columns: dict[str, Sequence[object]] = {
        "partition": [partition] * len(events),
        "offset": rows.offsets,
        "event_id": [e.event_id for e in events],
        "type": [e.type for e in events],
        "lock_id": [e.lock_id for e in events],
        "aggregate_id": [e.aggregate_id for e in events],
        "org_id": [e.org_id for e in events],
        "version": [e.version for e in events],
        "occurred_at": _times([e.occurred_at for e in events]),
        "recorded_at": _times([e.recorded_at for e in events]),
        "actor_kind": [e.actor.kind for e in events],
        "actor_subject": [e.actor.subject for e in events],
        "temp_key_uuid": [u.temp_key_uuid for u in uses],
        "user_id": [u.user_id for u in uses],
        "used_count": [u.used_count for u in uses],
        "data": [bytes(e.data).decode() for e in events],
    }
    return pa.table(columns, schema=PARQUET_SCHEMA)


def _times(texts: list[str]) -> Any:
    try:
        return pa.array(texts, pa.string()).cast(_TIME)
    except pa.ArrowInvalid:
        # It takes no part of a millisecond, which we do not write but read.
        return pa.array([read_time(text) for text in texts], _TIME)
