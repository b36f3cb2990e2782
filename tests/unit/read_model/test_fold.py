from uuid import UUID, uuid4

import pytest

from read_model.fold import CommittedEvent, fold
from runtime.errors import StreamViolation
from schemas.lock_events import Event, encode_event
from schemas.primitives import id_time_ms
from tests.examples_of import LOCK_UUID, TIME, created_event, used_event


def committed(*events: Event) -> list[CommittedEvent]:
    return [CommittedEvent(i, i, e, encode_event(e)) for i, e in enumerate(events)]


def test_rows_are_those_after_the_last_event() -> None:
    rows = fold(
        committed(created_event(), used_event(version=2), used_event(version=3, used_count=2)), {}
    )
    assert [(r["lock_id"], r["version"]) for r in rows.locks] == [(7, 3)]
    assert [(r["temp_key_uuid"], r["used_count"]) for r in rows.temp_keys] == [("key-1", 2)]
    assert [row[1] for row in rows.events] == [1, 2, 3]


@pytest.mark.parametrize("version", [1, 2, 4])
def test_a_version_that_does_not_follow_stops_the_fold(version: int) -> None:
    with pytest.raises(StreamViolation, match="lock 7 is at version 2"):
        fold(committed(used_event(version=version)), {7: 2})


def test_a_stream_that_does_not_begin_at_1_stops_the_fold() -> None:
    with pytest.raises(StreamViolation):
        fold(committed(used_event(version=2)), {})


def test_rows_hold_all_that_is_asked_of_them() -> None:
    created, used = created_event(org_id="other"), used_event(version=2, used_count=9)
    rows = fold(
        [CommittedEvent(5, 11, created, b"first"), CommittedEvent(6, 12, used, b"second")], {}
    )
    assert rows.locks == [
        {
            "lock_id": 7,
            "lock_uuid": LOCK_UUID.bytes,
            "org_id": "acme",
            "version": 2,
            "updated_at": TIME,
        }
    ]
    assert rows.temp_keys == [{"lock_id": 7, "temp_key_uuid": "key-1", "used_count": 9}]
    assert rows.events == [
        (7, version, event.event_id.bytes, org_id, source, value)
        for version, event, org_id, source, value in (
            (1, created, "other", 11, b"first"),
            (2, used, "acme", 12, b"second"),
        )
    ]


def test_locks_and_temp_keys_have_rows_of_their_own_and_go_on_from_their_versions() -> None:
    events = [
        used_event(7, 3, temp_key="a"),
        used_event(8, 9, temp_key="a", used_count=2),
        used_event(7, 4, temp_key="b"),
        used_event(8, 10, temp_key="a", used_count=3),
    ]
    versions = {7: 2, 8: 8}
    rows = fold(committed(*events), versions)
    assert [(r["lock_id"], r["version"]) for r in rows.locks] == [(7, 4), (8, 10)]
    keys = [(r["lock_id"], r["temp_key_uuid"], r["used_count"]) for r in rows.temp_keys]
    assert keys == [(7, "a", 1), (8, "a", 3), (7, "b", 1)]
    assert versions == {7: 2, 8: 8}


def test_a_violation_says_where_it_is_and_what_was_expected() -> None:
    record = CommittedEvent(41, 0, used_event(version=5), b"")
    with pytest.raises(StreamViolation) as violation:
        fold([record], {7: 2})
    assert str(violation.value) == (
        "lock-events offset 41: lock 7 is at version 2, and the next event says 5"
    )
    with pytest.raises(StreamViolation, match="is at version 0, and the next event says 5"):
        fold([record], {})


def test_only_a_uuid7_holds_a_time() -> None:
    assert id_time_ms(UUID("01a20943-063b-7611-93e4-06cdc29e2571")) == 0x01A20943063B
    assert id_time_ms(uuid4()) == -1
