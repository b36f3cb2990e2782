"""``90d``, ``1h``, and times as people type them."""

from datetime import UTC, datetime, timedelta

import pytest

from operations.shared.durations import read_duration, read_moment, write_duration
from operations.shared.names import check_lock_id, check_name
from runtime.errors import ConfigurationError
from schemas.primitives import MAX_LOCK_ID


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("45s", timedelta(seconds=45)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        (" 90d ", timedelta(days=90)),
        ("1s", timedelta(seconds=1)),
        ("36500d", timedelta(days=36500)),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, meant: timedelta) -> None:
    assert read_duration("--expires", text) == meant


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5h", "90D", "1d2h", "²d", "1234567890s"])
def test_what_is_no_duration_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read_duration("--expires", text)
    told = f"--expires: {text!r} is not a duration; write 90d, 12h, 30m or 45s"
    assert str(refusal.value) == told


def test_no_time_and_more_than_a_century_are_refused() -> None:
    for text, told in (
        ("0h", "is no time at all; write 45s, for one"),
        ("36501d", "is too long: 36500d is the longest"),
        ("999999999d", "is too long: 36500d is the longest"),
    ):
        with pytest.raises(ConfigurationError) as refusal:
            read_duration("--overlap", text)
        assert str(refusal.value) == f"--overlap: {text!r} {told}"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"),
        (0.25, "0.2s"),
        (59.0, "59s"),
        (60, "1m"),
        (61.9, "1m 1s"),
        (3600, "1h"),
        (3661, "1h 1m"),
        (86_400, "1d"),
        (86_460, "1d"),
        (100_000_000, "1157d 9h"),
    ],
)
def test_a_duration_is_written_by_its_two_largest_units(seconds: float, written: str) -> None:
    assert write_duration(seconds) == written


def test_a_moment_without_a_zone_is_utc_and_with_one_its_own() -> None:
    assert read_moment("2026-11-23") == datetime(2026, 11, 23, tzinfo=UTC)
    assert read_moment("2026-11-23t10:00z") == datetime(2026, 11, 23, 10, tzinfo=UTC)
    there = read_moment("2026-11-23 10:00+02:00")
    assert there == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert there.utcoffset() == timedelta(hours=2)


@pytest.mark.parametrize("text", ["", "20261123", "2026-W48", "2026-02-30", "2026-11-23T24:01"])
def test_what_is_no_moment_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        read_moment(text)
    told = f"{text!r} is not a time; write 2026-11-23 or 2026-11-23T10:00:00Z"
    assert str(refusal.value) == told


def test_ids_of_organisations_and_locks_are_checked_by_the_rules_of_the_records() -> None:
    for name in ("a", "acme-crm_1.2", "x" * 64):
        check_name("--org", name)
    for name in ("", "x" * 65, "ac me", "é", "acme\n"):
        with pytest.raises(ConfigurationError) as refusal:
            check_name("--org", name)
        assert str(refusal.value) == (
            f"--org: {name!r} is not an id; use 1 to 64 letters, digits, '.', '_' or '-'"
        )
    for lock_id in (1, MAX_LOCK_ID):
        check_lock_id("--lock", lock_id)
    for lock_id in (0, -1, MAX_LOCK_ID + 1):
        with pytest.raises(ConfigurationError) as refusal:
            check_lock_id("--lock", lock_id)
        told = f"--lock: a lock id is an integer from 1 to {MAX_LOCK_ID}"
        assert str(refusal.value) == told
