"""Facts and partners' records beside the events that belong to them, fed record by record."""

from collections.abc import AsyncIterator, Sequence

import pytest
from msgspec.structs import replace

from eventlog.records import Record
from operations.audit.cursor import Cursor
from operations.audit.partition_audit import Dropped, _FactMerge, _PartnerMerge
from operations.audit.stream_checks import PartnerChecks, ReadEvent, read_event
from schemas.lock_events import EventHeaders, TempKeyUsedEvent, encode_event
from schemas.lock_facts import TempKeyUsed, encode_fact
from schemas.parked_facts import ParkedHeaders
from schemas.partner_events import encode_envelope, envelope, partner_headers
from schemas.registry import Partner, Replay
from schemas.replay_events import ReplayEndedHeaders, encode_replay_ended, replay_ended
from schemas.topics import lock_key
from tests.examples_of import POSITIONS, TIME, temp_key_used, used_event

PARTITION = 2
TOPIC = "partner.crm.lock-events"
PARTNER = Partner(id="crm", org_id="acme", types=("*",), start_offsets=(10,), created_at=TIME)


def cursor(records: Sequence[Record], at_once: int = 2) -> Cursor:
    async def batches() -> AsyncIterator[list[Record]]:
        for begin in range(0, len(records), at_once):
            yield list(records[begin : begin + at_once])

    return Cursor(batches())


# -- facts -----------------------------------------------------------------------------------------


def fact_record(fact: TempKeyUsed, offset: int) -> Record:
    return Record(PARTITION, offset, 0, b"7", encode_fact(fact), ())


def parked_record(source_offset: int, offset: int = 0) -> Record:
    headers = ParkedHeaders("unknown-lock", "", "lock-facts", source_offset, TIME)
    return Record(PARTITION, offset, 0, b"7", b"{}", headers.to_kafka())


def event_of(fact: TempKeyUsed, source_offset: int, offset: int = 50) -> ReadEvent:
    event = used_event(event_id=fact.event_id)
    headers = EventHeaders(str(fact.event_id), "TempKeyUsed", "acme", 2, source_offset)
    value = encode_event(event)
    return read_event(Record(PARTITION, offset, 0, b"7", value, headers.to_kafka()))


def facts_of(
    facts: Sequence[Record], parked: Sequence[Record] = (), retained_from: int = 0
) -> _FactMerge:
    return _FactMerge("lock-facts", PARTITION, cursor(facts), cursor(parked), retained_from)


async def found(merge: _FactMerge, *events: ReadEvent) -> list[tuple[str, str, int]]:
    return [
        (violation.kind, violation.topic, violation.offset)
        for event in events
        async for violation in merge.up_to(event, "lock-events")
    ]


async def test_every_fact_is_an_event_was_parked_or_is_remembered_as_dropped() -> None:
    one, parked, repeated, two = (temp_key_used() for _ in range(4))
    facts = [fact_record(f, n) for n, f in enumerate((one, parked, repeated, two))]
    merge = facts_of(facts, [parked_record(1)])
    assert await found(merge, event_of(one, 0), event_of(two, 3)) == []
    assert merge.dropped == [Dropped(2, str(repeated.event_id))]


async def test_a_fact_before_one_that_was_parked_was_not_parked_by_that() -> None:
    lost, parked, kept = (temp_key_used() for _ in range(3))
    merge = facts_of(
        [fact_record(f, n) for n, f in enumerate((lost, parked, kept))], [parked_record(1)]
    )
    assert await found(merge, event_of(kept, 2)) == []
    assert merge.dropped == [Dropped(0, str(lost.event_id))]


async def test_a_foreign_record_among_the_parked_facts_hides_none_of_them() -> None:
    parked, kept = temp_key_used(), temp_key_used()
    foreign = Record(PARTITION, 0, 0, b"7", b"{}", ())
    merge = facts_of([fact_record(parked, 0), fact_record(kept, 1)], [foreign, parked_record(0, 1)])
    assert await found(merge, event_of(kept, 1)) == []
    assert merge.dropped == []


@pytest.mark.parametrize("value", [None, b"", b"no fact"])
async def test_what_is_no_fact_and_was_not_parked_was_passed_over(value: bytes | None) -> None:
    kept = temp_key_used()
    merge = facts_of([replace(fact_record(kept, 0), value=value), fact_record(kept, 1)])
    expected = [("fact-passed-over", "lock-facts", 0)]
    assert await found(merge, event_of(kept, 1)) == expected
    assert merge.dropped == []


async def test_an_event_has_the_fact_that_it_names_and_no_other() -> None:
    own, other = temp_key_used(), temp_key_used()
    without = [("event-without-fact", "lock-events", 50)]
    assert await found(facts_of([fact_record(own, 0)]), event_of(own, 0)) == []
    assert await found(facts_of([fact_record(other, 0)]), event_of(own, 0)) == without
    assert await found(facts_of([]), event_of(own, 0)) == without
    assert await found(facts_of([fact_record(own, 1)]), event_of(own, 0)) == without
    unreadable = replace(fact_record(own, 0), value=b"{")
    assert await found(facts_of([unreadable]), event_of(own, 0)) == without


async def test_facts_that_retention_has_deleted_are_asked_of_nobody_and_those_after_are() -> None:
    own = temp_key_used()
    assert await found(facts_of([], retained_from=5), event_of(own, 4)) == []
    without = [("event-without-fact", "lock-events", 50)]
    assert await found(facts_of([], retained_from=5), event_of(own, 5)) == without


# -- partners --------------------------------------------------------------------------------------


def stream_event(offset: int, version: int = 2, org_id: str = "acme") -> ReadEvent:
    event = used_event(version=version, org_id=org_id)
    headers = EventHeaders(str(event.event_id), "TempKeyUsed", org_id, version, offset)
    value = encode_event(event)
    return read_event(Record(0, offset, 0, b"7", value, headers.to_kafka()))


def delivery(read: ReadEvent, sequence: int) -> Record:
    """As fan-out writes it; its partner offset is a hundred more than its sequence."""
    assert isinstance(read.event, TempKeyUsedEvent)
    sent = envelope(read.event, PARTNER.id)
    position = POSITIONS.seal(TOPIC, 0, sequence, read.offset)
    headers = partner_headers(sent, position=position, sequence=sequence)
    key = lock_key(read.event.lock_id)
    return Record(0, 100 + sequence, 0, key, encode_envelope(sent), headers)


async def audited(
    events: Sequence[ReadEvent], records: Sequence[Record]
) -> tuple[list[tuple[str, int]], int]:
    """What is found, with the partner offsets, and the lag."""
    checks = PartnerChecks(TOPIC, 0, PARTNER, 10, 0, POSITIONS)
    merge = _PartnerMerge(PARTNER.id, cursor(records), checks)
    found = [v for event in events async for v in merge.event(event)]
    found += [v async for v in merge.rest()]
    return [(v.kind, v.offset) for v in found], merge.lag


FIRST, SECOND, THIRD = (stream_event(10 + n, 2 + n) for n in range(3))
THEIRS = stream_event(11, 9, "other")
EARLIER = stream_event(9)


async def test_a_partner_that_has_its_events_and_no_others_is_served_right() -> None:
    sent = [delivery(FIRST, 1), delivery(SECOND, 2), delivery(THIRD, 3)]
    events = [EARLIER, FIRST, SECOND, THIRD]
    assert await audited(events, sent) == ([], 0)
    assert await audited(events, sent[:1]) == ([], 2)
    assert await audited(events, []) == ([], 3)
    assert await audited([EARLIER], []) == ([], 0)


async def test_an_event_between_two_that_were_delivered_is_missing() -> None:
    sent = [delivery(FIRST, 1), delivery(THIRD, 2)]
    assert await audited([FIRST, SECOND, THIRD], sent) == ([("partner-event-missing", 101)], 0)


async def test_a_foreign_delivery_is_found_wherever_it_stands() -> None:
    """Before the events, between them, and after the last."""
    foreign = "partner-event-foreign"
    sent = [delivery(EARLIER, 1), delivery(FIRST, 2), delivery(SECOND, 3)]
    assert await audited([EARLIER, FIRST, SECOND], sent) == ([(foreign, 101)], 0)
    sent = [delivery(FIRST, 1), delivery(THEIRS, 2), delivery(THIRD, 3)]
    assert await audited([FIRST, THEIRS, THIRD], sent) == ([(foreign, 102)], 0)
    sent = [delivery(FIRST, 1), delivery(THEIRS, 2)]
    assert await audited([FIRST, THEIRS], sent) == ([(foreign, 102)], 0)
    nobodys = Record(0, 102, 0, b"7", b"{}", ())
    sent = [delivery(FIRST, 1), nobodys, delivery(SECOND, 2)]
    assert await audited([FIRST, SECOND], sent) == ([(foreign, 102)], 0)


async def test_an_event_that_was_delivered_twice_is_found() -> None:
    for sent in (
        [delivery(FIRST, 1), delivery(FIRST, 2)],
        [delivery(FIRST, 1), delivery(FIRST, 2), delivery(SECOND, 3)],
    ):
        kinds, _ = await audited([FIRST, SECOND], sent)
        assert kinds == [("partner-event-foreign", 102)]


async def test_a_delivery_is_held_against_its_own_event() -> None:
    altered = replace(delivery(SECOND, 2), value=delivery(FIRST, 2).value)
    sent = [delivery(FIRST, 1), altered, delivery(THIRD, 4)]
    kinds, lag = await audited([FIRST, SECOND, THIRD], sent)
    assert kinds == [("partner-event-altered", 102), ("partner-sequence-gap", 104)]
    assert lag == 0


# -- replays ---------------------------------------------------------------------------------------

REPLAY = Replay(
    partner_id="crm",
    number=3,
    org_id="acme",
    types=("*",),
    start_offsets=(10,),
    end_offsets=(13,),
    created_at=TIME,
    status="ended",
    counts=(3,),
)
REPLAY_TOPIC = "partner.crm.lock-events.replay.3"
BEHIND = stream_event(13, 5)


def again(read: ReadEvent, sequence: int) -> Record:
    sent = envelope(read.event, PARTNER.id)
    position = POSITIONS.seal(REPLAY_TOPIC, 0, sequence, read.offset)
    headers = partner_headers(sent, position=position, sequence=sequence)
    assert isinstance(read.event, TempKeyUsedEvent)
    key = lock_key(read.event.lock_id)
    return Record(0, 100 + sequence, 0, key, encode_envelope(sent), headers)


def marker(sequence: int, count: int | None = None, end: int = 13, number: int = 3) -> Record:
    told = sequence - 1 if count is None else count
    record = replay_ended("crm", number, 0, told, TIME)
    position = POSITIONS.seal(REPLAY_TOPIC, 0, sequence, end)
    headers = ReplayEndedHeaders.of(record, position=position, sequence=sequence)
    value = encode_replay_ended(record)
    return Record(0, 100 + sequence, 0, None, value, headers.to_kafka())


async def audited_replay(records: Sequence[Record], *, ends: bool = True) -> list[tuple[str, int]]:
    """What is found of a replay of three events, among others."""
    checks = PartnerChecks(REPLAY_TOPIC, 0, REPLAY.as_partner, 10, 0, POSITIONS, REPLAY)
    merge = _PartnerMerge("crm", cursor(records), checks, of_replay=True, ends=ends)
    events = [EARLIER, FIRST, SECOND, THIRD, BEHIND]
    found = [v for event in events async for v in merge.event(event)]
    found += [v async for v in merge.rest()]
    assert not merge.counts_as_lag
    return [(v.kind, v.offset) for v in found]


ALL = [again(FIRST, 1), again(SECOND, 2), again(THIRD, 3)]
MISSING, FOREIGN = "partner-event-missing", "partner-event-foreign"
ALTERED, GAP = "partner-event-altered", "partner-sequence-gap"


async def test_a_replay_that_has_its_stretch_and_an_end_is_right() -> None:
    assert await audited_replay([*ALL, marker(4)]) == []
    for behind in (ALL, ALL[:1], []):
        assert await audited_replay(behind, ends=False) == []


async def test_a_replay_that_has_ended_lacks_nothing_of_its_stretch() -> None:
    assert await audited_replay(ALL) == [(MISSING, 103)]
    assert await audited_replay([*ALL[:2], marker(3)]) == [(MISSING, 102)]
    assert await audited_replay([ALL[0], again(THIRD, 2), marker(3)]) == [(MISSING, 101)]


async def test_a_replay_holds_nothing_of_before_or_behind_its_stretch() -> None:
    assert await audited_replay([again(EARLIER, 1)], ends=False) == [(FOREIGN, 101)]
    assert await audited_replay([*ALL, again(BEHIND, 4), marker(5)]) == [(FOREIGN, 104)]
    assert await audited_replay([*ALL, marker(4), again(BEHIND, 5)]) == [(FOREIGN, 105)]
    assert await audited_replay([*ALL, marker(4), marker(5)]) == [(FOREIGN, 105)]


async def test_the_end_of_a_replay_is_its_own_and_counts_what_stands_before_it() -> None:
    for wrong in (
        marker(4, count=2),
        marker(4, number=2),
        marker(4, end=14),
        replace(marker(4), value=b"{}"),
    ):
        assert await audited_replay([*ALL, wrong]) == [(ALTERED, 104)]
    assert await audited_replay([*ALL, marker(5)]) == [(GAP, 105)]


async def test_a_live_topic_has_no_end() -> None:
    record = replay_ended("crm", 3, 0, 1, TIME)
    position = POSITIONS.seal(TOPIC, 0, 2, 13)
    headers = ReplayEndedHeaders.of(record, position=position, sequence=2).to_kafka()
    end = Record(0, 102, 0, None, encode_replay_ended(record), headers)
    assert await audited([FIRST], [delivery(FIRST, 1), end]) == ([(FOREIGN, 102)], 0)
