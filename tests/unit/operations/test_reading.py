"""What people type and the files that they bring."""

from datetime import UTC, datetime, timedelta

import pytest

from lockstream.operations.durations import read_duration, read_moment
from lockstream.operations.lock_files import BadLine, LockLine, read_lock_lines
from lockstream.operations.partners import read_types
from lockstream.runtime.errors import ConfigurationError


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("24h", 1), ("1440m", 1), ("86400s", 1)])
def test_durations(text: str, days: int) -> None:
    assert read_duration(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "1w", "forever"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="90d"):
        read_duration(text)


@pytest.mark.parametrize("text", ["36501d", "999999999d", "999999999h"])
def test_a_duration_beyond_all_calendars_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="36500d"):
        read_duration(text)


def test_a_moment_without_a_zone_is_utc() -> None:
    assert read_moment("2026-11-23") == datetime(2026, 11, 23, tzinfo=UTC)
    assert read_moment("2026-11-23T11:00:00+01:00") == datetime(2026, 11, 23, 10, tzinfo=UTC)
    with pytest.raises(ConfigurationError):
        read_moment("tomorrow")


def test_bad_lines_are_named_by_number_and_the_others_read() -> None:
    lines = ["id,org,uuid\n", "1,acme,\n", "zero,acme,\n", "2\n", "3,ac me,\n", "\n", "4,acme,x\n"]
    read = list(read_lock_lines("locks.csv", lines))
    assert [line.id for line in read if isinstance(line, LockLine)] == [1]
    assert [line.number for line in read if isinstance(line, BadLine)] == [3, 4, 5, 7]


def test_ndjson_has_the_same_fields() -> None:
    lines = ['{"id":1,"org":"acme"}\n', "{\n", '{"id":2,"org":"acme","colour":"red"}\n', "[1]\n"]
    read = list(read_lock_lines("locks.ndjson", lines))
    assert read[0] == LockLine(1, "acme")
    assert [line.number for line in read if isinstance(line, BadLine)] == [2, 3, 4]


@pytest.mark.parametrize(
    ("name", "lines"), [("locks.txt", []), ("locks.csv", ["a,b\n"]), ("locks.csv", [])]
)
def test_a_file_of_another_kind_is_refused_whole(name: str, lines: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        list(read_lock_lines(name, lines))


def test_a_type_that_does_not_exist_is_refused() -> None:
    assert read_types("TempKeyUsed, LockCreated") == ("TempKeyUsed", "LockCreated")
    assert read_types("*") == ("*",)
    for text in ("TempKeyUsd", "", ","):
        with pytest.raises(ConfigurationError, match="LockCreated"):
            read_types(text)
