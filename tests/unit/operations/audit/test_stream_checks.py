"""The pure checks of the stream, fed with histories that are sound but for one thing."""

import random
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from eventlog.records import Record
from operations.audit.event_ids import EventIds, hash_id
from operations.audit.repeated import Repeated
from operations.audit.stream_checks import EventChecks, PartnerChecks, read_event
from operations.audit.violations import Violation
from schemas.lock_events import Event, EventHeaders, encode_event, event_type
from schemas.partner_events import encode_envelope, envelope, partner_headers
from schemas.registry import Partner
from schemas.topics import lock_key, partition_of
from schemas.undecodable import Undecodable
from tests.examples_of import LOCK_UUID, POSITIONS, TIME, created_event, used_event

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


def altered(record: Record, **headers: bytes) -> Record:
    """The record with other headers; underscores stand for hyphens."""
    others = {name.replace("_", "-"): value for name, value in headers.items()}
    own = tuple((name, others.get(name, value)) for name, value in record.headers)
    return replace(record, headers=own)


def test_a_record_as_a_projector_writes_it_is_read_whole() -> None:
    event = used_event(7, 3)
    read = read_event(record(event, 41))
    assert (read.offset, read.event, read.value) == (41, event, encode_event(event))
    assert (read.headers.event_id, read.headers.source_offset) == (str(event.event_id), 41)


@pytest.mark.parametrize(
    "headers",
    [
        {"event_id": b"01a20943-063b-7611-93e4-06cdc29e2571"},
        {"event_type": b"LockCreated"},
        {"org_id": b"other"},
        {"version": b"4"},
    ],
)
def test_a_record_whose_headers_say_otherwise_than_its_value_is_unreadable(
    headers: dict[str, bytes],
) -> None:
    with pytest.raises(ValueError, match=r"^its headers and its value do not agree\Z"):
        read_event(altered(record(used_event(7, 3), 0), **headers))


@pytest.mark.parametrize("key", [None, b"", b"8", b"07", b"7 "])
def test_a_record_under_another_locks_key_is_unreadable(key: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"^its key is not its lock's\Z"):
        read_event(replace(record(used_event(7, 3), 0), key=key))


@pytest.mark.parametrize(
    ("value", "why"), [(None, "truncated"), (b"", "truncated"), (b"{}", "missing required field")]
)
def test_a_record_without_an_event_is_unreadable(value: bytes | None, why: str) -> None:
    with pytest.raises(Undecodable, match=why):
        read_event(replace(record(used_event(7, 3), 0), value=value))


def violations_of(
    events: Sequence[tuple[Event, int]], partition: int = 0, partitions: int = 1
) -> list[Violation]:
    """Of events with their source offsets, as they stand one after the other from offset 10 on."""
    checks = EventChecks("lock-events", partition, partitions, EventIds())
    found: list[Violation] = []
    for offset, (event, source) in enumerate(events, start=10):
        headers = {"source_offset": b"%d" % source}
        found += checks.check(read_event(altered(record(event, offset), **headers)))
    return found


def test_a_version_that_is_left_out_or_comes_again_is_found() -> None:
    events = [(used_event(7, n, used_count=n), n) for n in (1, 2)]
    assert violations_of(events) == []
    kind = "lock-events", 0, 12
    for version, named in ((4, "version-gap"), (2, "version-repeated"), (1, "version-repeated")):
        late = (used_event(7, version, used_count=3), 3)
        (found,) = violations_of([*events, late])
        assert found == Violation(named, *kind, f"lock 7: version {version} after 2")  # type: ignore[arg-type]
    (found,) = violations_of([(used_event(7, 2), 0)])
    assert found.detail == "lock 7: version 2 after 0"


def test_after_a_version_that_comes_again_the_stream_goes_on_from_the_greatest() -> None:
    versions = (1, 2, 3, 2, 4)
    events = [(used_event(7, v, used_count=n), n) for n, v in enumerate(versions, start=1)]
    assert [(v.kind, v.offset) for v in violations_of(events)] == [("version-repeated", 13)]


def test_a_source_offset_that_does_not_grow_is_found() -> None:
    def stream(*sources: int) -> list[tuple[int, str]]:
        events = [(used_event(7, n, used_count=n), s) for n, s in enumerate(sources, start=1)]
        return [(v.offset, v.detail) for v in violations_of(events) if _is_source(v)]

    assert stream(0, 1, 5) == []
    assert stream(0, 0) == [(11, "source-offset 0 after 0")]
    # The greatest counts, also after one that was too small.
    assert stream(3, 8, 5, 6, 9) == [
        (12, "source-offset 5 after 8"),
        (13, "source-offset 6 after 8"),
    ]


def _is_source(violation: Violation) -> bool:
    return violation.kind == "source-offset-not-increasing"


def test_a_lock_in_another_partition_than_its_own_is_found() -> None:
    home = partition_of(7, 12)
    event = (used_event(7, 1), 0)
    assert violations_of([event], home, 12) == []
    (found,) = violations_of([event], home + 1, 12)
    detail = f"lock 7 lives in partition {home}"
    assert found == Violation("wrong-partition", "lock-events", home + 1, 10, detail)


def test_a_uuid_that_changes_is_named_with_the_one_before_and_told_once() -> None:
    other = UUID(int=9)
    uses = [used_event(7, n, used_count=n - 1) for n in (2, 3)]
    moved = [msgspec.structs.replace(use, aggregate_id=other) for use in uses]
    found = checked([created_event(7), *moved])
    assert [(v.offset, v.detail) for v in found] == [(1, f"lock 7 was {LOCK_UUID}, and is {other}")]


def test_what_is_unreadable_is_told_with_its_place_and_why() -> None:
    checks = EventChecks("lock-events", 3, 12, EventIds())
    found = checks.unreadable(record(used_event(), 77), "it is no JSON")
    assert found == Violation("unreadable-record", "lock-events", 3, 77, "it is no JSON")


PARTNER = Partner(
    id="acme-crm",
    org_id="acme",
    types=("TempKeyUsed",),
    start_offsets=(10,),
    created_at=TIME,
)
TOPIC = "partner.acme-crm.lock-events"


def partner_checks(begin: int = 10, sequence: int = 4) -> PartnerChecks:
    return PartnerChecks(TOPIC, 2, PARTNER, begin, sequence, POSITIONS)


def delivered(event: Event, offset: int, sequence: int) -> Record:
    """As fan-out writes it, at partner offset ``offset``."""
    sent = envelope(event, PARTNER.id)
    position = POSITIONS.seal(TOPIC, 2, sequence, 41)
    headers = partner_headers(sent, position=position, sequence=sequence)
    return Record(2, offset, 0, lock_key(event.lock_id), encode_envelope(sent), headers)


def test_a_partner_is_entitled_to_its_organisations_types_from_where_it_began() -> None:
    checks = partner_checks()
    ours, theirs = used_event(), used_event(org_id="other")
    assert checks.entitled(read_event(record(ours, 10)))
    assert checks.entitled(read_event(record(ours, 11)))
    assert not checks.entitled(read_event(record(ours, 9)))
    assert not checks.entitled(read_event(record(theirs, 10)))
    assert not checks.entitled(read_event(record(created_event(), 10)))


def test_a_partners_sequence_has_no_gap_and_none_twice() -> None:
    event = used_event()
    checks = partner_checks()
    for sequence in (5, 6):
        assert list(checks.check_record(delivered(event, sequence, sequence))) == []
    for at, (sequence, before) in enumerate([(8, 6), (8, 8), (3, 8)], start=20):
        (found,) = checks.check_record(delivered(event, at, sequence))
        detail = f"sequence {sequence} after {before}"
        assert found == Violation("partner-sequence-gap", TOPIC, 2, at, detail)
        before = sequence


def test_a_record_that_no_fan_out_wrote_is_foreign_and_counts_not() -> None:
    checks = partner_checks()
    foreign = replace(delivered(used_event(), 30, 5), headers=(("sequence", b"5"),))
    (found,) = checks.check_record(foreign)
    assert (found.kind, found.offset) == ("partner-event-foreign", 30)
    assert found.detail == "the header 'position' is missing"
    assert list(checks.check_record(delivered(used_event(), 31, 5))) == []


def test_a_position_of_another_record_or_installation_is_foreign() -> None:
    """A copy of the last record, under the next sequence, would let it go on where it was."""
    checks = partner_checks()
    copied = dict(delivered(used_event(), 30, 4).headers)
    copied["sequence"] = b"5"
    forged = replace(delivered(used_event(), 30, 5), headers=tuple(copied.items()))
    (found,) = checks.check_record(forged)
    assert (found.kind, found.offset) == ("partner-event-foreign", 30)
    assert found.detail == "its position is none of this installation's"
    assert checks.position(forged) is None


def test_a_record_of_before_positions_were_sealed_is_audited_alike() -> None:
    checks = partner_checks()
    before = (("source-offset", b"41"), ("sequence", b"5"))
    record_of_before = replace(delivered(used_event(), 30, 5), headers=before)
    assert list(checks.check_record(record_of_before)) == []
    found = checks.position(record_of_before)
    assert found is not None
    assert (found.source_offset, found.sequence) == (41, 5)
    assert list(checks.check_record(delivered(used_event(), 31, 6))) == []


def test_a_delivery_that_is_not_what_the_log_holds_is_altered() -> None:
    checks, event = partner_checks(), used_event()
    read = read_event(record(event, 41))
    sound = delivered(event, 50, 5)
    list(checks.check_record(sound))
    assert list(checks.check_pair(sound, read)) == []
    others = envelope(event, "somebody-else")
    for changed in (
        replace(sound, value=None),
        replace(sound, value=encode_envelope(others)),
        replace(sound, key=b"8"),
    ):
        (found,) = checks.check_pair(changed, read)
        detail = "it is not what lock-events holds at 41"
        assert found == Violation("partner-event-altered", TOPIC, 2, 50, detail)


def test_what_is_missing_and_what_is_foreign_is_told_where_it_was_noticed() -> None:
    checks, event = partner_checks(), used_event()
    read = read_event(record(event, 41))
    detail = f"lock-events offset 41 (event {event.event_id}) was passed over"
    assert checks.missing(read) == Violation("partner-event-missing", TOPIC, 2, -1, detail)
    list(checks.check_record(delivered(event, 50, 5)))
    assert checks.missing(read).offset == 50
    detail = "lock-events offset 17 is no event that this partner is entitled to"
    assert checks.foreign(17) == Violation("partner-event-foreign", TOPIC, 2, 50, detail)


def test_an_event_id_that_stands_twice_is_named_with_where_it_stood_first() -> None:
    first, other = used_event(7, 2), used_event(7, 3)
    again = msgspec.structs.replace(first, version=4)
    suspects = {hash_id(str(first.event_id))}
    repeated = Repeated("lock-events", suspects, ())
    places = [(first, 3, 0), (other, 4, 0), (again, 5, 1), (again, 6, 1)]
    found = [v for e, at, p in places for v in repeated.look_at(record(e, at, p))]
    detail = f"event {first.event_id} stands at lock-events[0] offset 3 already"
    assert found == [
        Violation("duplicate-event-id", "lock-events", 1, 5, detail),
        Violation("duplicate-event-id", "lock-events", 1, 6, detail),
    ]


def test_what_is_no_suspect_or_no_event_is_passed_over() -> None:
    event = used_event()
    repeated = Repeated("lock-events", (), ())
    for _ in range(2):
        assert list(repeated.look_at(record(event, 3))) == []
    suspecting = Repeated("lock-events", {hash_id(str(event.event_id))}, ())
    broken = replace(record(event, 4), value=b"{")
    assert [list(suspecting.look_at(r)) for r in (record(event, 3), broken)] == [[], []]


def test_a_uuid_that_three_locks_share_is_told_for_each_of_the_later_ones() -> None:
    events = [created_event(n) for n in (7, 8, 9)]
    repeated = Repeated("lock-events", (), {hash_id(str(LOCK_UUID))})
    records = [record(event, at) for at, event in enumerate([*events, *events])]
    found = [(v.offset, v.detail) for each in records for v in repeated.look_at(each)]
    at = f"is {LOCK_UUID}, and so is lock 7 at lock-events[0] offset 0"
    assert found == [(1, f"lock 8 {at}"), (2, f"lock 9 {at}")]


def test_uuids_that_are_shared_are_told_apart() -> None:
    uuids = [UUID(int=1), UUID(int=2)]
    repeated = Repeated("lock-events", (), {hash_id(str(uuid)) for uuid in uuids})
    events = [
        replace(created_event(lock_id), aggregate_id=uuids[n])
        for lock_id, n in ((7, 0), (8, 1), (9, 0))
    ]
    records = [record(event, at) for at, event in enumerate(events)]
    found = [v.detail for each in records for v in repeated.look_at(each)]
    assert found == [f"lock 9 is {uuids[0]}, and so is lock 7 at lock-events[0] offset 0"]


@pytest.mark.parametrize("size", [0, 1, 60])
def test_the_suspects_are_the_ids_that_were_added_more_than_once(size: int) -> None:
    numbers = random.Random(1).choices(range(40), k=size)
    ids = EventIds()
    for number in numbers:
        ids.add(str(number))
    counted = Counter(numbers)
    assert len(ids) == len(numbers)
    assert ids.suspects() == {hash_id(str(n)) for n, times in counted.items() if times > 1}
    asked = [str(number) for number in range(42)]
    assert ids.missing(asked) == [text for text in asked if int(text) not in counted]


def test_a_hash_is_the_same_in_every_run() -> None:
    assert hash_id("01a20943-063b-7611-93e4-06cdc29e2571") == 0x52FD81597C2CF6BE
