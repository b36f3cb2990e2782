"""``lockstream replay`` and ``rebuild``: the whole stream, read again."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from lockstream.eventlog.kafka import (
    Record,
    beginnings,
    connected,
    offsets_at_time,
    stable_ends,
)
from lockstream.eventlog.log_reader import LogReader
from lockstream.operations.console import print_json, progress_bar, say
from lockstream.operations.durations import read_moment
from lockstream.operations.installation import Installation, open_installation, run_verb
from lockstream.projector.partition import read_stretch
from lockstream.read_model.fold import Stretch
from lockstream.runtime.errors import ConfigurationError
from lockstream.runtime.process import prefetched
from lockstream.schemas.lock_events import Event, TempKeyUsedEvent, decode_event, event_type
from lockstream.schemas.primitives import epoch_ms, read_time

ROWS_PER_GROUP = 20_000
TRANSACTION_EVENTS = 10_000
"""At least as many are folded in at once by ``rebuild``."""
START = "start"


class Stretches(msgspec.Struct, frozen=True):
    """What is to be read: per partition, from an offset to the end that was seen."""

    begin: dict[int, int]
    end: dict[int, int]

    @property
    def offsets(self) -> int:
        """Offsets to go over; markers and aborted records are among them."""
        return sum(max(0, self.end[p] - self.begin[p]) for p in self.begin)


class Sink(Protocol):
    def write(self, records: Sequence[Record]) -> None: ...

    def close(self) -> None: ...


class NdjsonSink:
    """One event a line, as it stands in ``lock-events``."""

    def __init__(self, file: Path | None) -> None:
        self._output = sys.stdout.buffer if file is None else file.open("wb")
        self._is_ours = file is not None

    def write(self, records: Sequence[Record]) -> None:
        self._output.write(b"".join(b"%b\n" % (record.value or b"null") for record in records))

    def close(self) -> None:
        self._output.flush()
        if self._is_ours:
            self._output.close()


_TIME = pa.timestamp("ms", tz="UTC")
PARQUET_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("event_id", pa.string()),
        ("type", pa.dictionary(pa.int32(), pa.string())),
        ("lock_id", pa.int64()),
        ("aggregate_id", pa.string()),
        ("org_id", pa.dictionary(pa.int32(), pa.string())),
        ("version", pa.int64()),
        ("occurred_at", _TIME),
        ("recorded_at", _TIME),
        ("actor_kind", pa.dictionary(pa.int32(), pa.string())),
        ("actor_subject", pa.string()),
        ("temp_key_uuid", pa.string()),
        ("user_id", pa.string()),
        ("used_count", pa.int64()),
        ("data", pa.string()),
    ]
)
"""``data``: the event's own data as JSON, for types that have no columns of their own."""


class ParquetSink:
    """One file a partition: ``lock-events-00003.parquet``. A file is whole or has no such name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._writers: dict[int, Any] = {}
        self._rows: dict[int, list[dict[str, object]]] = {}

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            rows = self._rows.setdefault(record.partition, [])
            rows.append(_row(record, decode_event(record.value or b"")))
            if len(rows) >= ROWS_PER_GROUP:
                self._flush(record.partition)

    def _flush(self, partition: int) -> None:
        rows = self._rows.pop(partition, [])
        if not rows:
            return
        if partition not in self._writers:
            self._writers[partition] = pq.ParquetWriter(
                self._file(partition, ".part"), PARQUET_SCHEMA, compression="zstd"
            )
        self._writers[partition].write_table(pa.Table.from_pylist(rows, schema=PARQUET_SCHEMA))

    def _file(self, partition: int, ending: str = "") -> Path:
        return self._folder / f"lock-events-{partition:05d}.parquet{ending}"

    def close(self) -> None:
        for partition in list(self._rows):
            self._flush(partition)
        for partition, writer in self._writers.items():
            writer.close()
            self._file(partition, ".part").replace(self._file(partition))


def _row(record: Record, event: Event) -> dict[str, object]:
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
        "temp_key_uuid": use.temp_key_uuid if use is not None else None,
        "user_id": use.user_id if use is not None else None,
        "used_count": use.used_count if use is not None else None,
        "data": msgspec.json.encode(event.data).decode(),
    }


def replay(
    begin: Annotated[
        str,
        typer.Option("--from", help="start, an offset (in every partition), or a time."),
    ] = START,
    partition: Annotated[int | None, typer.Option(help="Only this partition.")] = None,
    form: Annotated[
        Literal["ndjson", "parquet"], typer.Option("--format", help="NDJSON or Parquet files.")
    ] = "ndjson",
    out: Annotated[
        Path | None,
        typer.Option(help="NDJSON: the file, instead of stdout. Parquet: the folder (required)."),
    ] = None,
) -> None:
    """Write the lock event stream out, from the beginning or later, to the end it has now.

    Committed events only. All events of a lock come in the order of their versions."""

    async def verb() -> int:
        if form == "parquet" and out is None:
            raise ConfigurationError("--format parquet needs --out, the folder for its files")
        async with open_installation() as here:
            stretches = await _plan(here, begin, partition)
            sink = NdjsonSink(out) if form == "ndjson" else ParquetSink(out or Path())
            try:
                written = await _copy(here, stretches, sink)
            finally:
                sink.close()
        return written

    written = run_verb(verb)
    say(f"{written:,} events")


async def _plan(here: Installation, begin: str, partition: int | None) -> Stretches:
    topic, count = here.settings.topics.lock_events, here.settings.partitions
    if partition is not None and not 0 <= partition < count:
        raise ConfigurationError(f"--partition: there are partitions 0 to {count - 1}")
    numbers = list(range(count)) if partition is None else [partition]
    async with connected(here.kafka.offsets_client()) as client:
        first = await beginnings(client, topic, numbers)
        if begin == START:
            begins = first
        elif begin.isdigit():
            begins = {p: max(first[p], int(begin)) for p in numbers}
        else:
            moment = epoch_ms(read_moment(begin))
            begins = await offsets_at_time(client, topic, numbers, moment)
    return Stretches(begins, await stable_ends(here.kafka, topic, numbers))


async def _copy(here: Installation, stretches: Stretches, sink: Sink) -> int:
    written = 0
    reached = dict(stretches.begin)
    with progress_bar("replaying", stretches.offsets, "offsets") as advance:
        async with LogReader.open(here.kafka) as reader:
            topic = here.settings.topics.lock_events
            async for records in reader.read(topic, stretches.begin, stretches.end):
                sink.write(records)
                written += len(records)
                advance(_progress(reached, records))
        advance(sum(max(0, stretches.end[p] - at) for p, at in reached.items()))
    return written


def _progress(reached: dict[int, int], records: Sequence[Record]) -> int:
    last = records[-1]
    advanced = last.offset + 1 - reached[last.partition]
    reached[last.partition] = last.offset + 1
    return advanced


def rebuild(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Empty the read model and fold the lock event stream into it again.

    Services may run meanwhile: they answer 503 for what is not folded in yet."""

    async def verb() -> int:
        async with open_installation() as here:
            await here.read_model.prepare()
            await here.read_model.reset()
            return await _refold(here)

    folded = run_verb(verb)
    if as_json:
        print_json({"events": folded})
    else:
        say(f"the read model is rebuilt from {folded:,} events")


async def _refold(here: Installation) -> int:
    """The projector may be folding too: whoever comes second to an event passes it over."""
    topic = here.settings.topics.lock_events
    ends = await stable_ends(here.kafka, topic, list(range(here.settings.partitions)))
    begins = dict.fromkeys(ends, 0)
    stretches = Stretches(begins, ends)
    folded = 0
    with progress_bar("folding", stretches.offsets, "offsets") as advance:
        async with LogReader.open(here.kafka) as reader:
            batches = _batches(reader.read(topic, begins, ends), topic, begins)
            async with aclosing(prefetched(batches)) as prepared:
                async for batch in prepared:
                    await here.read_model.apply(batch)
                    folded += sum(len(stretch.events) for stretch in batch)
                    advance(sum(stretch.end - stretch.begin for stretch in batch))
    return folded


async def _batches(
    read: AsyncIterator[list[Record]], topic: str, begins: Mapping[int, int]
) -> AsyncIterator[list[Stretch]]:
    """What is folded in at once."""
    reached = dict(begins)
    sources = dict.fromkeys(begins, -1)
    batch: list[Stretch] = []
    size = 0
    async for records in read:
        partition = records[0].partition
        stretch, sources[partition] = read_stretch(
            topic, records, reached[partition], sources[partition]
        )
        reached[partition] = stretch.end
        batch.append(stretch)
        size += len(records)
        if size >= TRANSACTION_EVENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
