import pytest

from lockstream.read_model.fold import CommittedEvent, fold
from lockstream.runtime.errors import StreamViolation
from lockstream.schemas.lock_events import Event, encode_event
from tests.examples_of import created_event, used_event


def committed(*events: Event) -> list[CommittedEvent]:
    return [CommittedEvent(i, i, e, encode_event(e)) for i, e in enumerate(events)]


def test_rows_are_those_after_the_last_event() -> None:
    rows = fold(
        committed(created_event(), used_event(version=2), used_event(version=3, used_count=2)), {}
    )
    assert [(r["lock_id"], r["version"]) for r in rows.locks] == [(7, 3)]
    assert [(r["temp_key_uuid"], r["used_count"]) for r in rows.temp_keys] == [("key-1", 2)]
    assert [r["version"] for r in rows.events] == [1, 2, 3]


@pytest.mark.parametrize("version", [1, 2, 4])
def test_a_version_that_does_not_follow_stops_the_fold(version: int) -> None:
    with pytest.raises(StreamViolation, match="lock 7 is at version 2"):
        fold(committed(used_event(version=version)), {7: 2})


def test_a_stream_that_does_not_begin_at_1_stops_the_fold() -> None:
    with pytest.raises(StreamViolation):
        fold(committed(used_event(version=2)), {})
