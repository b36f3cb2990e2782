"""The pure checks of the stream, fed with histories that are sound but for one thing."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from lockstream.audit.event_ids import EventIds
from lockstream.audit.repeated import Repeated
from lockstream.audit.stream_checks import EventChecks, read_event
from lockstream.audit.violations import Violation
from lockstream.eventlog.kafka import Record
from lockstream.schemas.lock_events import Event, EventHeaders, encode_event, event_type
from lockstream.schemas.topics import lock_key
from tests.examples_of import created_event, used_event

ONE_PARTITION = 1


def record(event: Event, offset: int, partition: int = 0) -> Record:
    headers = EventHeaders(
        str(event.event_id), event_type(event), event.org_id, event.version, offset
    )
    key = lock_key(event.lock_id)
    return Record(partition, offset, 0, key, encode_event(event), headers.to_kafka())


def checked(events: Sequence[Event], lock_uuids: EventIds | None = None) -> list[Violation]:
    collected = EventIds() if lock_uuids is None else lock_uuids
    checks = EventChecks("lock-events", 0, ONE_PARTITION, collected)
    return [
        violation
        for offset, event in enumerate(events)
        for violation in checks.check(read_event(record(event, offset)))
    ]


def test_uses_are_counted_for_each_temp_key_of_each_lock() -> None:
    sound = [
        used_event(7, 1, used_count=1, temp_key="a"),
        used_event(7, 2, used_count=1, temp_key="b"),
        used_event(7, 3, used_count=2, temp_key="a"),
        used_event(8, 1, used_count=1, temp_key="a"),
    ]
    assert checked(sound) == []
    for wrong in (1, 2, 4):
        found = checked([*sound, used_event(7, 4, used_count=wrong, temp_key="a")])
        assert [v.kind for v in found] == ["used-count-wrong"]
        assert found[0].detail == f"lock 7, temp key a: usedCount {wrong} after 2"


def test_a_wrong_count_is_found_once_and_not_again_with_each_use_after_it() -> None:
    counts = (1, 5, 6, 7)
    events = [used_event(7, n, used_count=count) for n, count in enumerate(counts, 1)]
    assert [v.offset for v in checked(events)] == [1]


def test_a_lock_keeps_its_uuid() -> None:
    other = msgspec.structs.replace(used_event(7, 2), aggregate_id=UUID(int=9))
    found = checked([created_event(7), other])
    assert [v.kind for v in found] == ["lock-uuid-changed"]


def test_uuids_of_locks_are_kept_once_for_each_lock() -> None:
    lock_uuids = EventIds()
    checked([created_event(7), used_event(7, 2), used_event(7, 3, used_count=2)], lock_uuids)
    assert (len(lock_uuids), lock_uuids.suspects()) == (1, set())
    checked([created_event(8)], lock_uuids)
    assert len(lock_uuids.suspects()) == 1


def test_locks_with_one_uuid_are_named_both_whatever_their_partitions() -> None:
    lock_uuids = EventIds()
    first, second = created_event(7), created_event(8)
    checked([first, second], lock_uuids)
    repeated = Repeated("lock-events", (), lock_uuids.suspects())
    records = [record(first, 3), record(used_event(7), 4), record(second, 5, partition=1)]
    found = [violation for each in records for violation in repeated.look_at(each)]
    uuid = first.aggregate_id
    assert [(v.kind, v.partition, v.offset, v.detail) for v in found] == [
        (
            "lock-uuid-shared",
            1,
            5,
            f"lock 8 is {uuid}, and so is lock 7 at lock-events[0] offset 3",
        )
    ]
