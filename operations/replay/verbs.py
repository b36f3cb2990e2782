"""``lockstream replay``: the whole stream, read again."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from eventlog.kafka import (
    FetchedRecord,
    Record,
    connected,
    last_stable_offsets,
)
from eventlog.log_reader import LogReader
from operations.replay.event_files import NdjsonSink, Sink
from operations.shared.console import progress_bar, say
from operations.shared.installation import (
    Installation,
    open_installation,
    run_verb,
)
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
    """Write the lock event stream out, from the beginning or later, to the end it has now.

    NDJSON is one event a line, byte for byte as in `lock-events`. Parquet has the columns
    partition, offset, event_id, type, lock_id, aggregate_id, org_id, version, occurred_at,
    recorded_at, actor_kind, actor_subject, temp_key_uuid, user_id, used_count and data; README
    has their types.

    Committed events only. All events of a lock come in the order of their versions. What is
    written is whole, or what was there before stays."""

    async def verb() -> int:
        start = read_start(FROM, begin, datetime.now(UTC))
        if start.word != EARLIEST:
            say(f"{FROM} is taken for {start.text}")
        async with open_installation() as here:
            numbers = _chosen(partition, here.settings.partitions)
            with whole(_sink(form, out)) as sink:
                return await _export(here, numbers, start, sink)

    written = run_verb(verb)
    if written:
        say(f"{written:,} events")
    else:
        say(f"0 events: there is nothing at or after {begin}")


async def _export(here: Installation, numbers: Sequence[int], start: Start, sink: Sink) -> int:
    topic = here.settings.topics.lock_events
    async with connected(here.kafka.reader()) as client:
        begins = await start_offsets(client, topic, numbers, start, FROM)
        ranges = OffsetRanges(begins, await last_stable_offsets(client, topic, numbers))
        return await _copy(LogReader(client), topic, ranges, sink)


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
        async for records in reader.fetch(topic, ranges.begin, ranges.end):
            sink.write(records)
            written += len(records)
            advance(_progress(reached, records))
        advance(sum(max(0, ranges.end[p] - at) for p, at in reached.items()))
    return written


def _progress(reached: dict[int, int], records: Sequence[Record | FetchedRecord]) -> int:
    last = records[-1]
    advanced = last.offset + 1 - reached[last.partition]
    reached[last.partition] = last.offset + 1
    return advanced
