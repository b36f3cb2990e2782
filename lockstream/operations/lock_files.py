"""Reading files of locks: CSV with the columns id, org, uuid (optional), or NDJSON with the same
fields. Pure but for the reading of lines.
"""

import csv
from collections.abc import Iterable, Iterator
from uuid import UUID

import msgspec

from lockstream.runtime.errors import ConfigurationError
from lockstream.schemas.primitives import LockId, Name

COLUMNS = {"id", "org", "uuid"}


class LockLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: LockId
    org: Name
    uuid: UUID | None = None


class BadLine(msgspec.Struct, frozen=True):
    """``number``: of the line in the file, from 1."""

    number: int
    problem: str


def read_lock_lines(name: str, lines: Iterable[str]) -> Iterator[LockLine | BadLine]:
    """``name``'s ending tells the format: ``.csv``, or ``.ndjson`` or ``.jsonl``.

    Raises:
        ConfigurationError: another ending, or a CSV without the columns.
    """
    if name.endswith(".csv"):
        return _read_csv(name, lines)
    if name.endswith((".ndjson", ".jsonl")):
        return _read_ndjson(lines)
    raise ConfigurationError(f"{name}: the file's name must end in .csv, .ndjson or .jsonl")


def _read_csv(name: str, lines: Iterable[str]) -> Iterator[LockLine | BadLine]:
    rows = csv.reader(lines)
    header = [column.strip() for column in next(rows, [])]
    if not {"id", "org"} <= set(header) <= COLUMNS:
        raise ConfigurationError(f"{name}: the first line must name the columns id,org[,uuid]")
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            yield BadLine(rows.line_num, f"has {len(row)} columns instead of {len(header)}")
            continue
        fields = {k: v.strip() for k, v in zip(header, row, strict=True) if v.strip()}
        yield _convert(rows.line_num, fields)


def _read_ndjson(lines: Iterable[str]) -> Iterator[LockLine | BadLine]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            document = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            yield BadLine(number, f"is not JSON: {error}")
            continue
        yield _convert(number, document)


def _convert(number: int, fields: object) -> LockLine | BadLine:
    try:
        return msgspec.convert(fields, LockLine, strict=False)
    except msgspec.ValidationError as error:
        return BadLine(number, str(error))
