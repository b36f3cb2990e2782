"""What was once written stays readable and means the same; what is published changes compatibly."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas.descriptions.published import PUBLISHED
from tests.golden.__main__ import all_breaches
from tests.golden.compatibility import without_notes
from tests.golden.said_later import SAID_LATER
from tests.golden.samples import meaning, samples
from tests.golden.store import RECORDS, SCHEMAS, add, read_record, read_schema, versions
from tests.golden.withdrawn import WITHDRAWN

GOLDEN_RECORDS = [(name, file) for name, files in versions(RECORDS).items() for file in files]
CALL = "`make goldens` adds what is new, if it is compatible"


@pytest.mark.parametrize(("name", "file"), GOLDEN_RECORDS, ids=lambda x: getattr(x, "name", None))
def test_a_golden_record_is_readable_and_means_the_same(name: str, file: Path) -> None:
    golden = read_record(file)
    assert_contains(meaning(name, golden.record), golden.means, file.name)


def assert_contains(now: Any, then: Any, place: str) -> None:
    """All that was meant is meant; fields that came later may be there too."""
    if isinstance(then, dict):
        assert isinstance(now, dict), place
        for field, meant in then.items():
            assert field in now, f"{place}.{field}"
            assert_contains(now[field], meant, f"{place}.{field}")
    else:
        assert now == then, place


@pytest.mark.parametrize(("name", "file"), GOLDEN_RECORDS, ids=lambda x: getattr(x, "name", None))
def test_a_golden_record_is_of_todays_schema(name: str, file: Path) -> None:
    golden = read_record(file)
    for published in PUBLISHED:
        topic, _, kind = published.name.rpartition(".")
        if kind == "headers" and _topic_of(name) == topic:
            headers: dict[str, Any] = dict(golden.headers)
            for field, schema in published.json_schema()["properties"].items():
                if schema.get("type") == "integer" and field in headers:
                    headers[field] = int(headers[field])
            jsonschema.validate(headers, published.json_schema())
        elif f"{name}.".startswith(f"{published.name}.") and not published.is_headers:
            # As JSON: a default may be a tuple.
            schema = json.loads(json.dumps(published.json_schema()))
            jsonschema.validate(json.loads(golden.value), schema)


def _topic_of(name: str) -> str:
    topics = (
        *("lock-facts.parked", "lock-facts", "lock-events", "partner.lock-events"),
        *("partner.replay", "registry"),
    )
    return next(topic for topic in topics if f"{name}.".startswith(f"{topic}."))


def test_what_is_written_today_is_among_the_goldens() -> None:
    goldens = versions(RECORDS)
    for name, record in samples().items():
        assert name in goldens, f"{name}: {CALL}"
        assert read_record(goldens[name][-1]).record == record, f"{name}: {CALL}"


def test_every_published_record_has_a_sample() -> None:
    for published in PUBLISHED:
        start = published.name.removesuffix(".headers") + "."
        assert any(f"{name}.".startswith(start) for name in samples()), published.name


def test_no_published_schema_has_broken_an_earlier_one() -> None:
    assert all_breaches() == []


def test_only_formats_that_are_listed_were_said_later() -> None:
    """Each entry of the list lets one field through, and none stands there in vain."""
    told = {breach.split(": had the format None, has ")[0] for breach in all_breaches({})}
    listed = {(name, field) for name, fields in SAID_LATER.items() for field in fields}
    assert {
        (file.rsplit(".", 2)[0], field) for file, field in (line.split(": ") for line in told)
    } == listed


def test_only_fields_that_are_listed_were_withdrawn() -> None:
    told = {breach.partition(": was required")[0] for breach in all_breaches(withdrawn={})}
    listed = {(name, field) for name, fields in WITHDRAWN.items() for field in fields}
    assert {
        (file.rsplit(".", 2)[0], field) for file, field in (line.split(": ") for line in told)
    } == listed


def test_todays_schemas_are_among_the_goldens() -> None:
    goldens = versions(SCHEMAS)
    for published in PUBLISHED:
        assert published.name in goldens, f"{published.name}: {CALL}"
        latest = read_schema(goldens[published.name][-1])
        current = without_notes(published.json_schema())
        assert without_notes(latest) == current, f"{published.name}: {CALL}"


def test_a_golden_file_is_never_written_over(tmp_path: Path) -> None:
    first = add(tmp_path, "a.b", 0, {"x": 1})
    before = first.read_bytes()
    with pytest.raises(FileExistsError):
        add(tmp_path, "a.b", 0, {"x": 2})
    assert first.read_bytes() == before
    second = add(tmp_path, "a.b", 1, {"x": 2})
    assert versions(tmp_path) == {"a.b": [first, second]}
    first.unlink()
    with pytest.raises(ValueError, match="versions"):
        versions(tmp_path)
