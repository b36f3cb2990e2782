"""``make goldens``: adds what is written today to the golden files, if it is compatible."""

import sys
from collections.abc import Mapping
from pathlib import Path

from schemas.descriptions.published import PUBLISHED
from tests.golden.compatibility import breaches, without_notes
from tests.golden.said_later import SAID_LATER
from tests.golden.samples import meaning, samples
from tests.golden.store import (
    RECORDS,
    SCHEMAS,
    GoldenRecord,
    add,
    read_record,
    read_schema,
    versions,
)
from tests.golden.withdrawn import WITHDRAWN


def all_breaches(
    said_later: Mapping[str, Mapping[str, str]] = SAID_LATER,
    withdrawn: Mapping[str, Mapping[str, str]] = WITHDRAWN,
) -> list[str]:
    """Where today's schemas break what was once published; each begins with the golden file."""
    files = versions(SCHEMAS)
    today = {schema.name: schema for schema in PUBLISHED}
    lost = [f"{name}: is not published any more" for name in files if name not in today]
    return lost + [
        f"{file.name}: {breach}"
        for schema in PUBLISHED
        for file in files.get(schema.name, ())
        for breach in breaches(
            read_schema(file),
            schema.json_schema(),
            read=schema.read,
            written=schema.written,
            said_later=said_later.get(schema.name),
            withdrawn=withdrawn.get(schema.name, ()),
        )
    ]


def main() -> int:
    if found := all_breaches():
        print("not compatible, nothing was added:", *found, sep="\n  ", file=sys.stderr)
        return 1
    schemas, records = versions(SCHEMAS), versions(RECORDS)
    added: list[Path] = []
    for schema in PUBLISHED:
        files = schemas.get(schema.name, [])
        current = schema.json_schema()
        if not files or without_notes(read_schema(files[-1])) != without_notes(current):
            added.append(add(SCHEMAS, schema.name, len(files), current))
    for name, record in samples().items():
        files = records.get(name, [])
        if not files or read_record(files[-1]).record != record:
            golden = GoldenRecord.of(record, meaning(name, record))
            added.append(add(RECORDS, name, len(files), golden))
    for file in added:
        print(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)
    if not added:
        print("nothing to add")
    return 0


if __name__ == "__main__":
    sys.exit(main())
