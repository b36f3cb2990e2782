"""What a projector has written is read back and checked."""

import pytest

from eventlog.records import Record
from read_model.fold import CommittedEvent, ParkedFact, Stretch
from read_model.stretches import read_parked, read_stretch
from runtime.errors import StreamViolation
from schemas.lock_events import Event, EventHeaders, encode_event, event_type
from schemas.parked_facts import ParkedHeaders
from tests.examples_of import TIME, used_event


def record(event: Event, offset: int, source: int) -> Record:
    headers = EventHeaders(
        str(event.event_id), event_type(event), event.org_id, event.version, source
    )
    return Record(3, offset, 0, b"7", encode_event(event), headers.to_kafka())


def refusal(records: list[Record], previous: int) -> str:
    with pytest.raises(StreamViolation) as violation:
        read_stretch("lock-events", records, 40, previous)
    return str(violation.value)


@pytest.mark.parametrize("offsets", [(41,), (41, 44), (41, 44, 45)])
def test_a_stretch_is_what_was_read_from_its_begin_to_behind_its_last_record(
    offsets: tuple[int, ...],
) -> None:
    written = [(offset, used_event(version=offset)) for offset in offsets]
    records = [record(event, offset, offset - 30) for offset, event in written]
    events = [
        CommittedEvent(offset, offset - 30, event, encode_event(event)) for offset, event in written
    ]
    last = offsets[-1]
    assert read_stretch("lock-events", records, 40, 6) == (
        Stretch(3, 40, last + 1, events=events),
        last - 30,
    )


def test_source_offsets_increase_from_what_was_before() -> None:
    first, second = record(used_event(), 41, 7), record(used_event(), 42, 7)
    told = "lock-events[3] offset 42: its source-offset 7 does not follow 7"
    assert refusal([first, second], 6) == told
    assert refusal([first], 7).endswith("offset 41: its source-offset 7 does not follow 7")


def test_what_is_no_event_is_named_with_its_place() -> None:
    assert refusal([Record(3, 41, 0, b"7", b"{}", ())], -1) == (
        "lock-events[3] offset 41: the header 'event-id' is missing"
    )
    without = Record(3, 41, 0, b"7", None, record(used_event(), 41, 7).headers)
    assert refusal([without], -1).startswith("lock-events[3] offset 41: Input data was truncated")


def test_a_parked_fact_is_its_headers_or_named_with_its_place() -> None:
    headers = ParkedHeaders("unknown-lock", "there is no lock 7", "lock-facts", 12, TIME)
    parked = Record(3, 9, 0, b"7", b"", headers.to_kafka())
    assert read_parked("lock-facts.parked", parked) == ParkedFact(9, headers)
    with pytest.raises(StreamViolation) as violation:
        read_parked("lock-facts.parked", Record(3, 9, 0, b"7", b"", ()))
    told = "lock-facts.parked[3] offset 9: the header 'parked-reason' is missing"
    assert str(violation.value) == told
