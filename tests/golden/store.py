"""The golden files: numbered, added, never changed."""

import re
from pathlib import Path
from typing import Any

import msgspec

from tests.golden.samples import Record

FOLDER = Path(__file__).parent
RECORDS, SCHEMAS = FOLDER / "records", FOLDER / "schemas"


class GoldenRecord(msgspec.Struct, frozen=True):
    """Texts stand for their UTF-8 bytes. ``means``: what was read out of it when it was written."""

    key: str
    headers: list[tuple[str, str]]
    value: str
    means: dict[str, Any]

    @classmethod
    def of(cls, record: Record, means: dict[str, Any]) -> "GoldenRecord":
        headers = [(name, value.decode()) for name, value in record.headers]
        return cls(record.key.decode(), headers, record.value.decode(), means)

    @property
    def record(self) -> Record:
        headers = tuple((name, value.encode()) for name, value in self.headers)
        return Record(self.key.encode(), self.value.encode(), headers)


def versions(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder by name, oldest version first.

    Raises:
        ValueError: a file of another name, or a version that is missing.
    """
    found: dict[str, dict[int, Path]] = {}
    for file in folder.iterdir():
        match = re.fullmatch(r"(.+)\.([1-9]\d*)\.json", file.name)
        if match is None:
            raise ValueError(f"{file} is not <name>.<version>.json")
        found.setdefault(match[1], {})[int(match[2])] = file
    for name, files in found.items():
        if set(files) != set(range(1, len(files) + 1)):
            raise ValueError(f"{folder / name}: has the versions {sorted(files)}")
    return {name: [files[n] for n in sorted(files)] for name, files in sorted(found.items())}


def read_record(file: Path) -> GoldenRecord:
    return msgspec.json.decode(file.read_bytes(), type=GoldenRecord)


def read_schema(file: Path) -> dict[str, Any]:
    return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])


def add(folder: Path, name: str, earlier: int, content: object) -> Path:
    """Writes the next version.

    Raises:
        FileExistsError: it is there already.
    """
    file = folder / f"{name}.{earlier + 1}.json"
    with file.open("xb") as output:
        output.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    return file
