"""What ``lockstream replay`` writes."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from eventlog.records import Record
from operations.replay.event_files import NdjsonSink
from operations.replay.parquet_files import PARQUET_SCHEMA, ROWS_PER_GROUP, ParquetSink
from schemas.lock_events import (
    Event,
    OrganizationSetEvent,
    TempKeyUsedEvent,
    encode_event,
    event_type,
)
from schemas.lock_facts import OrganizationChange
from schemas.primitives import read_time
from tests.examples_of import LOCK_UUID, TIME, actor, created_event, used_event


def organization_set_event() -> OrganizationSetEvent:
    return OrganizationSetEvent(
        event_id=LOCK_UUID,
        lock_id=7,
        occurred_at=TIME,
        actor=actor(),
        aggregate_id=LOCK_UUID,
        org_id="other",
        version=3,
        recorded_at=TIME,
        data=OrganizationChange(org_id="other"),
    )


def records_of(values: Sequence[bytes | None], partition: int = 3) -> list[Record]:
    return [Record(partition, 10 + 2 * n, 0, b"7", value, ()) for n, value in enumerate(values)]


def written(folder: Path, records: Sequence[Record]) -> list[dict[str, object]]:
    sink = ParquetSink(folder)
    sink.write(records)
    sink.close()
    table = pq.read_table(folder / "lock-events-00003.parquet")
    assert table.schema == PARQUET_SCHEMA
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


def row_of(record: Record, event: Event) -> dict[str, object]:
    use = event.data if isinstance(event, TempKeyUsedEvent) else None
    return {
        "partition": record.partition,
        "offset": record.offset,
        "event_id": str(event.event_id),
        "type": event_type(event),
        "lock_id": event.lock_id,
        "aggregate_id": str(event.aggregate_id),
        "org_id": event.org_id,
        "version": event.version,
        "occurred_at": read_time(event.occurred_at),
        "recorded_at": read_time(event.recorded_at),
        "actor_kind": event.actor.kind,
        "actor_subject": event.actor.subject,
        "temp_key_uuid": use.temp_key_uuid if use else None,
        "user_id": use.user_id if use else None,
        "used_count": use.used_count if use else None,
        "data": msgspec.json.encode(event.data).decode(),
    }


def test_a_row_holds_what_its_event_says(tmp_path: Path) -> None:
    without_user = used_event()
    without_user = msgspec.structs.replace(
        without_user, data=msgspec.structs.replace(without_user.data, user_id=None)
    )
    odd = msgspec.structs.replace(
        used_event(temp_key='ké"y\\'), occurred_at="0001-01-01T00:00:00.000Z"
    )
    events: list[Event] = [
        created_event(),
        used_event(),
        organization_set_event(),
        without_user,
        odd,
    ]
    records = records_of([encode_event(event) for event in events])
    expected = [row_of(r, e) for r, e in zip(records, events, strict=True)]
    assert written(tmp_path, records) == expected


def test_a_time_is_read_however_it_was_written(tmp_path: Path) -> None:
    times = ["2026-11-23T12:00:00.123999+02:00", "2026-11-23T10:00:00Z", TIME]
    events = [msgspec.structs.replace(used_event(), occurred_at=text) for text in times]
    rows = written(tmp_path, records_of([encode_event(event) for event in events]))
    whole = read_time("2026-11-23T10:00:00Z")
    assert [row["occurred_at"] for row in rows] == [read_time(TIME), whole, read_time(TIME)]


def test_fields_and_types_of_a_later_version_are_borne(tmp_path: Path) -> None:
    document = json.loads(encode_event(organization_set_event()))
    document |= {"type": "LockPainted", "data": {"colour": "red"}, "weather": "fine"}
    (row,) = written(tmp_path, records_of([json.dumps(document).encode()]))
    assert (row["type"], json.loads(str(row["data"]))) == ("LockPainted", {"colour": "red"})


def test_no_row_is_lost_between_row_groups(tmp_path: Path) -> None:
    value = encode_event(used_event())
    records = records_of([value] * (ROWS_PER_GROUP + 700))
    sink = ParquetSink(tmp_path)
    for first in range(0, len(records), 500):
        sink.write(records[first : first + 500])
    sink.close()
    file = pq.ParquetFile(tmp_path / "lock-events-00003.parquet")
    assert file.num_row_groups == 2
    assert file.read()["offset"].to_pylist() == [record.offset for record in records]


def test_each_partition_has_a_file_that_is_named_once_all_are_whole(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path)
    value = encode_event(used_event())
    sink.write(records_of([value] * ROWS_PER_GROUP, 0))
    sink.write(records_of([value], 11))
    assert not list(tmp_path.glob("lock-events*"))
    sink.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "lock-events-00000.parquet",
        "lock-events-00011.parquet",
    ]


def test_a_line_is_the_event_as_it_stands_in_the_stream(tmp_path: Path) -> None:
    values = [encode_event(created_event()), encode_event(used_event())]
    sink = NdjsonSink(tmp_path / "events.ndjson")
    sink.write(records_of(values))
    sink.write(records_of([None]))
    sink.close()
    assert (tmp_path / "events.ndjson").read_bytes() == b"\n".join([*values, b"null", b""])


def test_no_verb_waits_for_pyarrow_that_does_not_need_it() -> None:
    """It takes a fifth of a second to import."""
    program = "import sys, operations.command; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
