"""Where ``lockstream replay`` puts the events. Parquet files have a module of their own
(``parquet_files.py``), since pyarrow takes long to import."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lockstream.eventlog.kafka import FetchedRecord


class Sink(Protocol):
    def write(self, records: Sequence[FetchedRecord]) -> None:
        """Takes records of one partition, in the order of their offsets."""

    def close(self) -> None: ...


class NdjsonSink:
    """One event a line, as it stands in ``lock-events``."""

    def __init__(self, file: Path | None) -> None:
        self._output = sys.stdout.buffer if file is None else file.open("wb")
        self._is_ours = file is not None

    def write(self, records: Sequence[FetchedRecord]) -> None:
        lines = [record.value or b"null" for record in records]
        lines.append(b"")
        self._output.write(b"\n".join(lines))

    def close(self) -> None:
        self._output.flush()
        if self._is_ours:
            self._output.close()
