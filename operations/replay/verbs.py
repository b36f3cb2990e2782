"""``lockstream replay``: exports the event stream."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from eventlog.kafka import stable_ends
from eventlog.log_reader import LogReader
from eventlog.records import Record
from operations.replay.event_files import NdjsonSink, Sink
from operations.shared.console import progress_bar, say
from operations.shared.installation import Installation, run_on_installation
from operations.shared.offset_ranges import OffsetRanges
from operations.shared.output_files import STDOUT, whole
from operations.shared.start_points import (
    EARLIEST,
    START_HELP,
    Start,
    read_start,
    start_offsets,
)
from runtime.errors import ConfigurationError

FROM = "--from"


def replay(
    begin: Annotated[
        str,
        typer.Option("--from", help=f"The first event: {START_HELP}"),
    ] = EARLIEST,
    partition: Annotated[int | None, typer.Option(help="Only this partition.")] = None,
    form: Annotated[
        Literal["ndjson", "parquet"], typer.Option("--format", help="NDJSON or Parquet files.")
    ] = "ndjson",
    out: Annotated[
        Path | None,
        typer.Option(
            help="NDJSON: the file, instead of stdout (-). Parquet: the folder (required)."
        ),
    ] = None,
) -> None:
    """Export the lock event stream, from its beginning or later, up to the end that it has now.

    NDJSON is one event a line, byte for byte as in `lock-events`. Parquet has the columns
    partition, offset, event_id, type, lock_id, aggregate_id, org_id, version, occurred_at,
    recorded_at, actor_kind, actor_subject, temp_key_uuid, user_id, used_count and data; README
    has their types.

    Only committed events are exported, those of a lock in the order of their versions. An
    interrupted export leaves the files as they were before."""

    async def exported(here: Installation) -> int:
        start = read_start(FROM, begin, datetime.now(UTC))
        if start.word != EARLIEST:
            say(f"{FROM} is understood as {start.text}")
        numbers = _chosen(partition, here.settings.partitions)
        with whole(_sink(form, out)) as sink:
            return await _export(here, numbers, start, sink)

    written = run_on_installation(exported)
    if written:
        say(f"{written:,} events")
    else:
        say(f"0 events: there is nothing at or after {begin}")


async def _export(here: Installation, numbers: Sequence[int], start: Start, sink: Sink) -> int:
    topic = here.settings.topics.lock_events
    async with here.kafka.offsets_client() as client:
        begins = await start_offsets(client, topic, numbers, start, FROM)
    ranges = OffsetRanges(begins, await stable_ends(here.kafka, topic, numbers))
    async with LogReader.open(here.kafka) as reader:
        return await _copy(reader, topic, ranges, sink)


def _sink(form: str, out: Path | None) -> Sink:
    if form == "ndjson":
        return NdjsonSink(out)
    if out is None or out == STDOUT:
        raise ConfigurationError("--format parquet needs --out, the folder for its files")
    # pyarrow would make every verb start a fifth of a second later.
    from operations.replay.parquet_files import ParquetSink

    return ParquetSink(out)


def _chosen(partition: int | None, count: int) -> list[int]:
    if partition is None:
        return list(range(count))
    if not 0 <= partition < count:
        raise ConfigurationError(f"--partition: there are partitions 0 to {count - 1}")
    return [partition]


async def _copy(reader: LogReader, topic: str, ranges: OffsetRanges, sink: Sink) -> int:
    written = 0
    reached = dict(ranges.begin)
    with progress_bar("replaying", ranges.size, "offsets") as advance:
        async for records in reader.read(topic, ranges.begin, ranges.end):
            sink.write(records)
            written += len(records)
            advance(_progress(reached, records))
        advance(sum(max(0, ranges.end[p] - at) for p, at in reached.items()))
    return written


def _progress(reached: dict[int, int], records: Sequence[Record]) -> int:
    last = records[-1]
    advanced = last.offset + 1 - reached[last.partition]
    reached[last.partition] = last.offset + 1
    return advanced
