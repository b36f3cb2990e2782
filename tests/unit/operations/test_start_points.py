"""What people write after ``--from``, the same in all verbs."""

from datetime import UTC, datetime

import pytest

from operations.shared.start_points import Start, read_start
from runtime.errors import ConfigurationError

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def start(text: str) -> Start:
    return read_start("--from", text, NOW)


def test_words_offsets_and_times_are_told_apart() -> None:
    assert start("earliest").word == start("start").word == "earliest"
    assert start("now").word == "now"
    assert start("1200").offset == start("offset:1200").offset == 1200
    assert start("offset:20261126").offset == 20261126
    assert start("2026-11-23").moment == datetime(2026, 11, 23, tzinfo=UTC)
    assert start("2026-11-23 10:00").moment == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert start("2026-11-23t11:00:00.123456789+01:00").moment == datetime(
        2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC
    )
    assert start("1969-07-20").moment == datetime(1969, 7, 20, tzinfo=UTC)
    assert start("0001-01-01T00:00:00+14:00").text.startswith("0001-01-01")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("20261126", "2026-11-26"),
        ("1795441973", "2026-11-23T"),
        ("1795441973073", "2026-11-23T"),
        ("1795441973073123", "2026-11-23T"),
    ],
)
def test_digits_with_two_meanings_are_refused_with_both_ways_to_write_them(
    text: str, written: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        start(text)
    assert written in str(refusal.value)
    assert f"offset:{text}" in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "²", "٣", "-5", "+5", "1e3", "1.5", "offset:", "offset:-1", "offset:٣", "tomorrow"),
        *("90d", "2026-W48", "20261123T100000Z", "2026-13-01", "2026-11-23T25:00", "23.11.2026"),
        *("٢٠٢٦-11-23", "2026-11-23T1", "99999999999999999999"),
    ],
)
def test_what_is_no_start_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--from") as refusal:
        start(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["2026-11-27", "2026-11-26T12:00:01Z", "9999-12-31T23:59-14:00"])
def test_a_time_to_come_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="nothing at or after"):
        start(text)


def refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as refused:
        start(text)
    return str(refused.value)


def test_a_start_is_spoken_of_as_it_was_understood() -> None:
    assert start(" earliest ") == start("start") == Start("earliest", word="earliest")
    assert start("now") == Start("now", word="now")
    assert start("offset:007") == start("007") == Start("offset 7", offset=7)
    assert start(f"offset:{2**63 - 1}").offset == 2**63 - 1
    moment = datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert start("2026-11-26T12:00:00Z") == Start("2026-11-26T12:00:00+00:00", moment=moment)


def test_refusals_of_starts_say_what_could_be_written() -> None:
    assert refusal(f"offset:{2**63}") == f"--from: {2**63} is beyond every offset"
    beyond = "0" * 20
    assert refusal(beyond) == f"--from: {beyond} is beyond every offset"
    assert refusal("tomorrow") == (
        "--from: 'tomorrow' is none of earliest, now, a time (2026-11-23 or "
        "2026-11-23T10:00:00Z) and an offset (offset:1200)"
    )
    assert refusal("2026-11-26T12:00:01Z") == (
        "--from: there is nothing at or after 2026-11-26T12:00:01+00:00: it is yet to come"
    )
    assert refusal("20261123") == (
        "--from: 20261123 may be a day; write 2026-11-23 for that, or offset:20261123 for an offset"
    )
    for digits, time in (
        ("1795428000", "2026-11-23T10:00:00Z"),
        ("1795428000999", "2026-11-23T10:00:00Z"),
        ("1795428000123456", "2026-11-23T10:00:00Z"),
        ("1795428000123456789", "2026-11-23T10:00:00Z"),
    ):
        assert refusal(digits) == (
            f"--from: {digits} may be a time since 1970; write {time} for that, "
            f"or offset:{digits} for an offset"
        )
