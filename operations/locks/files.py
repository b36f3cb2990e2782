"""Reads files of locks: CSV with the columns id, org and (optional) uuid, or NDJSON. NDJSON has the
same fields. Each line stands for itself: a damaged one spoils no other."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

import msgspec

from operations.locks.text_lines import MAX_LINE, TextLine
from runtime.errors import ConfigurationError
from schemas.primitives import MAX_LOCK_ID, NAME_PATTERN, printable

REQUIRED, COLUMNS = ("id", "org"), ("id", "org", "uuid")
SHOWN = 40
"""Characters of a bad value that a report repeats."""

_ID = re.compile(r"[1-9][0-9]{0,18}\Z")
_NAME = re.compile(NAME_PATTERN)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}(\1[0-9a-fA-F]{4}){2}\1[0-9a-fA-F]{12}\Z")


class LockLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int
    org: str
    uuid: UUID | None = None


class BadLine(msgspec.Struct, frozen=True):
    """Describes a line that can't be read. ``number``: its number in the file, from 1."""

    number: int
    problem: str


Read = tuple[int, LockLine] | BadLine
"""A line's number and what it says, or what is wrong with it."""


class _Problem(Exception):
    """Says what is wrong with one line."""


def check_format(name: str) -> None:
    """Checks that the file's name tells its format.

    Raises:
        ConfigurationError: the ending is none of ``.csv``, ``.ndjson`` and ``.jsonl``.
    """
    if not name.lower().endswith((".csv", ".ndjson", ".jsonl")):
        raise ConfigurationError(f"{name}: the file's name must end in .csv, .ndjson or .jsonl")


def read_lock_lines(name: str, lines: Iterable[TextLine]) -> Iterator[Read]:
    """Reads the lines in the format that the ending of ``name`` tells; skips empty lines.

    Raises:
        ConfigurationError: another ending, or a CSV without the columns.
    """
    check_format(name)
    return _read_csv(name, lines) if name.lower().endswith(".csv") else _read_ndjson(lines)


def _read_csv(name: str, lines: Iterable[TextLine]) -> Iterator[Read]:
    header: Sequence[str] = ()
    for line in lines:
        if line.text is not None and not line.text.strip():
            continue
        if not header:
            header = _read_header(name, line.text or "")
            continue
        try:
            yield line.number, _lock_line(_csv_fields(header, _whole(line)))
        except _Problem as problem:
            yield BadLine(line.number, str(problem))
    if not header:
        raise ConfigurationError(f"{name} is empty: the first line must name the columns id,org")


def _read_header(name: str, text: str) -> Sequence[str]:
    wanted = f"{name}: the first line must name the columns id,org[,uuid]"
    try:
        header = _cells(text)
    except _Problem as problem:
        raise ConfigurationError(f"{wanted}; it {problem}") from problem
    if len(header) == 1:
        for character, spoken in ((";", "';'"), ("\t", "a tab"), ("|", "'|'")):
            if character in header[0]:
                raise ConfigurationError(
                    f"{name}: the columns are separated by {spoken}; separate them by ','"
                )
    for column in header:
        if column not in COLUMNS:
            raise ConfigurationError(f"{wanted}; there is no column {_shown(column)}")
        if header.count(column) > 1:
            raise ConfigurationError(f"{wanted}; it names {column} twice")
    for column in REQUIRED:
        if column not in header:
            raise ConfigurationError(f"{wanted}; it does not name {column}")
    return header


def _csv_fields(header: Sequence[str], text: str) -> dict[str, object]:
    cells = _cells(text)
    if len(cells) != len(header):
        raise _Problem(f"has {len(cells)} columns instead of {len(header)}")
    return {k: v for k, v in zip(header, cells, strict=True) if v}


def _cells(text: str) -> list[str]:
    if '"' in text:
        try:
            # Line by line: a quote that is never closed must not take the lines after it.
            (row,) = csv.reader((text,), strict=True)
        except csv.Error as error:
            raise _Problem(f'has a stray " ({error})') from error
    else:
        row = text.split(",")
    return [cell.strip() for cell in row]


def _read_ndjson(lines: Iterable[TextLine]) -> Iterator[Read]:
    for line in lines:
        if line.text is not None and not line.text.strip():
            continue
        try:
            yield line.number, _lock_line(_json_fields(_whole(line)))
        except _Problem as problem:
            yield BadLine(line.number, str(problem))


def _json_fields(text: str) -> dict[str, object]:
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise _Problem("is nested too deeply") from error
    except ValueError as error:
        raise _Problem(f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _Problem("is not a JSON object")
    for name in document:
        if name not in COLUMNS:
            raise _Problem(f"there is no field {_shown(name)}")
    return {name: value for name, value in document.items() if value is not None}


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise _Problem(f"names {_shown(name)} twice")
        fields[name] = value
    return fields


def _whole(line: TextLine) -> str:
    if line.text is None:
        raise _Problem(f"is longer than {MAX_LINE:,} bytes")
    if "\0" in line.text:
        raise _Problem("holds a NUL byte")
    return line.text


def _lock_line(fields: dict[str, object]) -> LockLine:
    for name in REQUIRED:
        if name not in fields:
            raise _Problem(f"has no {name}")
    uuid = fields.get("uuid")
    return LockLine(
        _lock_id(fields["id"]), _name(fields["org"]), None if uuid is None else _uuid(uuid)
    )


def _lock_id(value: object) -> int:
    """Reads a lock id in its only spelling: other spellings are refused, not guessed."""
    if isinstance(value, str) and _ID.match(value):
        value = int(value)
    if type(value) is int and 1 <= value <= MAX_LOCK_ID:
        return value
    raise _Problem(
        f"id: {_shown(value)} is not a lock id, an integer from 1 to {MAX_LOCK_ID} in plain digits"
    )


def _name(value: object) -> str:
    if isinstance(value, str) and _NAME.match(value):
        return value
    raise _Problem(
        f"org: {_shown(value)} is not an id; use 1 to 64 letters, digits, '.', '_' or '-'"
    )


def _uuid(value: object) -> UUID:
    if isinstance(value, str) and _UUID.match(value):
        return UUID(value)
    raise _Problem(f"uuid: {_shown(value)} is not a UUID")


def _shown(value: object) -> str:
    text = printable(value if isinstance(value, str) else json.dumps(value))
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "…")
