"""What people type and the files that they bring."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operations.command import make_command
from operations.partners.event_types import read_types
from operations.replay.parquet_files import PARQUET_SCHEMA
from operations.replay.verbs import replay
from operations.shared.durations import read_duration, read_moment
from runtime.errors import ConfigurationError


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("24h", 1), ("1440m", 1), ("86400s", 1)])
def test_durations(text: str, days: int) -> None:
    assert read_duration("--ttl", text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "1w", "forever", "٣d", "²h", "0d"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--ttl"):
        read_duration("--ttl", text)


@pytest.mark.parametrize("text", ["36501d", "999999999d", "999999999h"])
def test_a_duration_beyond_all_calendars_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="36500d"):
        read_duration("--ttl", text)


def test_a_moment_without_a_zone_is_utc() -> None:
    assert read_moment("2026-11-23") == datetime(2026, 11, 23, tzinfo=UTC)
    assert read_moment("2026-11-23T11:00:00+01:00") == datetime(2026, 11, 23, 10, tzinfo=UTC)
    with pytest.raises(ConfigurationError):
        read_moment("tomorrow")


def test_a_type_that_does_not_exist_is_refused() -> None:
    assert read_types("TempKeyUsed, LockCreated") == ("TempKeyUsed", "LockCreated")
    assert read_types("*") == ("*",)
    for text in ("TempKeyUsd", "", ","):
        with pytest.raises(ConfigurationError, match="LockCreated"):
            read_types(text)


def test_help_and_readme_name_every_column_of_an_export() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    for column in PARQUET_SCHEMA.names:
        assert f"`{column}`" in readme, column
        assert re.search(rf"\b{column}\b", replay.__doc__ or ""), column


def test_every_setting_has_a_meaning() -> None:
    done = CliRunner().invoke(make_command(), ["settings", "--json"])
    for setting in json.loads(done.stdout):
        assert setting["meaning"], setting["variable"]
