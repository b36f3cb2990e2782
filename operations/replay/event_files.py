"""Writes replayed events as NDJSON. Parquet files have a module of their own
(``parquet_files.py``), since pyarrow takes long to import."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from eventlog.records import Record
from operations.shared.output_files import OutputFile

OUT = "--out"


class Sink(Protocol):
    def write(self, records: Sequence[Record]) -> None:
        """Takes records of one partition, in the order of their offsets."""

    def close(self) -> None: ...

    def discard(self) -> None: ...


class NdjsonSink:
    """Writes one event a line, as it stands in ``lock-events``."""

    def __init__(self, file: Path | None) -> None:
        """Opens the file; None: stdout.

        Raises:
            ConfigurationError: it can't be written there.
        """
        self._output = OutputFile(OUT, file)

    def write(self, records: Sequence[Record]) -> None:
        lines = [record.value or b"null" for record in records]
        lines.append(b"")
        self._output.write(b"\n".join(lines))

    def close(self) -> None:
        self._output.close()

    def discard(self) -> None:
        self._output.discard()
