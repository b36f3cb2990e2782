"""What the API remembers of the stream's end, and what it must not claim to know."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine
from sqlalchemy.event import listen, remove

from command_api.errors import NotFound
from command_api.recent_events import (
    EVENT_BYTES_KEPT,
    LockView,
    RecentEvents,
    SeenEvent,
    SeenParked,
)
from command_api.stream_view import StreamView
from eventlog.records import Record
from read_model.fold import CommittedEvent, Stretch
from read_model.opening import open_read_model
from runtime.errors import ReadModelUnavailable
from runtime.readiness import Readiness
from runtime.settings import Settings
from schemas.lock_events import Event, EventHeaders, encode_event, event_type
from schemas.parked_facts import ParkedHeaders
from schemas.topics import LockTopics, lock_key
from tests.examples_of import LOCK_UUID, TIME, created_event, used_event

TOPICS = LockTopics("", 4)


def record(event: Event, offset: int) -> Record:
    headers = EventHeaders(
        str(event.event_id), event_type(event), event.org_id, event.version, offset
    )
    key, value = lock_key(event.lock_id), encode_event(event)
    return Record(0, offset, 0, key, value, headers.to_kafka())


def recent_from(begin: int) -> RecentEvents:
    return RecentEvents(TOPICS, {0: begin}, Readiness())


async def test_an_expected_event_is_answered_to_all_that_wait() -> None:
    recent = recent_from(0)
    event = used_event()
    waits = [recent.expect(str(event.event_id)) for _ in range(2)]
    recent.take(TOPICS.lock_events, [record(event, 5)])
    outcomes = [await wait.get() for wait in waits]
    assert all(outcome is not None and outcome.source_offset == 5 for outcome in outcomes)
    for wait in waits:
        recent.give_up(str(event.event_id), wait)
    assert recent.waiting == 0


async def test_giving_up_leaves_nothing_behind() -> None:
    recent = recent_from(0)
    recent.give_up("id", recent.expect("id"))
    assert recent.waiting == 0


def test_a_transfer_is_remembered_before_the_read_model_knows_it() -> None:
    from tests.examples_of import organization_set

    recent = recent_from(0)
    fact = organization_set(7, "other")
    from schemas.lock_events import OrganizationSetEvent

    moved = OrganizationSetEvent(
        event_id=fact.event_id,
        lock_id=7,
        occurred_at=fact.occurred_at,
        actor=fact.actor,
        aggregate_id=LOCK_UUID,
        org_id="other",
        version=2,
        recorded_at=fact.occurred_at,
        data=fact.data,
    )
    recent.take(TOPICS.lock_events, [record(moved, 3)])
    assert recent.lock(7) == LockView(LOCK_UUID, "other", 2, seen_at=(0, 3))


def test_a_change_that_is_forgotten_is_not_taken_to_be_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("command_api.recent_events.LOCKS_KEPT", 1)
    recent = recent_from(0)
    recent.take(TOPICS.lock_events, [record(created_event(lock_id=7), 0)])
    assert recent.covered_from(0) == 0
    recent.remember_lock(7, LockView(LOCK_UUID, "globex", 4))
    recent.remember_lock(8, LockView(LOCK_UUID, "acme", 1))
    assert recent.lock(7) is None
    assert recent.covered_from(0) == 1


def test_a_use_changes_nothing_that_is_remembered_of_its_lock() -> None:
    recent = recent_from(0)
    recent.take(TOPICS.lock_events, [record(used_event(lock_id=7, version=2), 0)])
    assert recent.lock(7) is None


def test_what_is_known_of_a_later_version_stays() -> None:
    recent = recent_from(0)
    recent.remember_lock(7, LockView(LOCK_UUID, "globex", 4))
    recent.take(TOPICS.lock_events, [record(created_event(lock_id=7), 0)])
    assert recent.lock(7) == LockView(LOCK_UUID, "globex", 4)


def test_a_record_that_can_not_be_read_is_reported_and_holds_nobody_up() -> None:
    readiness = Readiness()
    recent = RecentEvents(TOPICS, {0: 0}, readiness)
    bad = Record(0, 1, 0, b"7", b"x", ())
    event = created_event()
    recent.take(TOPICS.lock_events, [bad, record(event, 2)])
    assert recent.event(str(event.event_id)) is not None
    assert "offset 1" in readiness.obstacles["lock-events"]


@pytest.mark.parametrize(
    ("begin", "caught_up", "error"),
    [(0, True, NotFound), (0, False, ReadModelUnavailable), (5, True, ReadModelUnavailable)],
)
async def test_a_lock_is_not_said_to_be_missing_unless_that_is_known(
    tmp_path: Path, begin: int, caught_up: bool, error: type[Exception]
) -> None:
    """The model is empty: folded up to 0. ``begin``: where memory begins."""
    settings = Settings(state_dir=tmp_path, partitions=1)
    model = open_read_model(settings)
    await model.prepare()
    seen = asyncio.Event()
    if caught_up:
        seen.set()
    stream = StreamView(model, recent_from(begin), settings.topics, seen, Readiness(), 0.1)
    with pytest.raises(error):
        await stream.lock_of(7, "acme")
    await model.close()


@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "forgotten"])
async def test_another_organisations_lock_costs_as_much_work_as_none(
    tmp_path: Path, remembered: bool
) -> None:
    """Both ask the database the same questions, each time: no answer comes sooner."""
    settings = Settings(state_dir=tmp_path, partitions=1)
    model = open_read_model(settings)
    await model.prepare()
    event = created_event(lock_id=7, org_id="globex")
    await model.apply([Stretch(0, 0, 1, events=[CommittedEvent(0, 0, event, encode_event(event))])])
    recent, seen = recent_from(0), asyncio.Event()
    seen.set()
    if remembered:
        recent.take(TOPICS.lock_events, [record(event, 0)])
    stream = StreamView(model, recent, settings.topics, seen, Readiness(), 0.1)
    statements: list[str] = []

    def watch(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    listen(Engine, "before_cursor_execute", watch)
    try:
        questions = []
        for lock_id in (8, 7, 8, 7, 7):
            with pytest.raises(NotFound):
                await stream.lock_of(lock_id, "acme")
            questions.append(tuple(statements))
            statements.clear()
    finally:
        remove(Engine, "before_cursor_execute", watch)
    assert questions[0]
    assert len(set(questions)) == 1
    await model.close()


def test_large_events_are_forgotten_sooner_and_are_covered_no_longer() -> None:
    recent = recent_from(0)
    size = EVENT_BYTES_KEPT // 4
    for offset in range(6):
        event = used_event(version=offset + 1)
        large = msgspec.structs.replace(record(event, offset), value=b"x" * size)
        recent.take(TOPICS.lock_events, [large])
    assert recent.covered_from(0) == 2


def parked(offset: int, event_id: str | None, source: int = 7) -> Record:
    headers = ParkedHeaders(
        "unknown-lock", "there is no lock 7", "lock-facts", source, TIME, event_id=event_id
    )
    return Record(0, offset, 0, b"7", b"", headers.to_kafka())


async def test_a_parked_fact_answers_those_that_wait_for_it_and_is_no_event() -> None:
    recent = recent_from(3)
    event = used_event()
    wait, other = recent.expect(str(event.event_id)), recent.expect("other")
    assert recent.waiting == 2
    record_of_it = parked(9, str(event.event_id))
    recent.take(TOPICS.parked_facts, [parked(8, None), record_of_it])
    headers = ParkedHeaders.from_kafka(record_of_it.headers)
    assert await wait.get() == SeenParked(0, 7, headers)
    assert other.empty()
    assert recent.event(str(event.event_id)) is None
    # Offsets of another topic say nothing of how far lock-events was seen.
    assert (recent.covered_from(0), recent.seen_to(0)) == (3, 3)


def test_what_was_seen_reaches_to_behind_the_last_record_even_if_that_is_bad() -> None:
    recent = RecentEvents(TOPICS, {0: 3, 1: 40}, Readiness())
    assert (recent.seen_to(0), recent.covered_from(1)) == (3, 40)
    event = used_event()
    bad = Record(0, 12, 0, b"7", b"x", ())
    recent.take(TOPICS.lock_events, [record(event, 11), bad])
    recent.take(TOPICS.lock_events, [])
    assert (recent.seen_to(0), recent.seen_to(1), recent.covered_from(0)) == (13, 40, 3)
    seen = SeenEvent(0, 11, 11, "acme", encode_event(event))
    assert recent.event(str(event.event_id)) == seen
    assert seen.event() == event


def test_a_bad_record_is_named_with_its_place_and_what_is_wrong() -> None:
    readiness = Readiness()
    recent = RecentEvents(TOPICS, {0: 0}, readiness)
    recent.take(TOPICS.lock_events, [Record(0, 5, 0, b"7", b"x", ())])
    text = "a record can't be read: lock-events[0] offset 5: the header 'event-id' is missing"
    assert readiness.obstacles["lock-events"] == text
    created = msgspec.structs.replace(record(created_event(), 6), value=None)
    recent.take(TOPICS.lock_events, [created])
    text = readiness.obstacles["lock-events"]
    assert text.startswith("a record can't be read: lock-events[0] offset 6: Input data")


def test_the_oldest_events_are_forgotten_and_covered_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("command_api.recent_events.EVENTS_KEPT", 2)
    recent = recent_from(0)
    events = [used_event(version=n + 1) for n in range(3)]
    recent.take(TOPICS.lock_events, [record(e, at) for at, e in enumerate(events, start=5)])
    assert [recent.event(str(e.event_id)) is None for e in events] == [True, False, False]
    assert recent.covered_from(0) == 6


def test_an_id_that_comes_again_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    recent = recent_from(0)
    event = used_event()
    size = len(encode_event(event))
    for offset in (5, 6):
        recent.take(TOPICS.lock_events, [record(event, offset)])
    assert recent._event_bytes == size
    monkeypatch.setattr("command_api.recent_events.EVENT_BYTES_KEPT", 3 * size)
    others = [used_event(version=n) for n in (3, 4)]
    recent.take(TOPICS.lock_events, [record(e, at) for at, e in enumerate(others, start=7)])
    assert (recent._event_bytes, recent.covered_from(0)) == (3 * size, 0)
    recent.take(TOPICS.lock_events, [record(used_event(version=5), 9)])
    assert (recent._event_bytes, recent.covered_from(0)) == (3 * size, 7)


def test_of_a_lock_the_greatest_version_stays_and_where_it_was_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recent = recent_from(0)
    recent.take(TOPICS.lock_events, [record(created_event(lock_id=7), 4)])
    seen = LockView(LOCK_UUID, "acme", 1, seen_at=(0, 4))
    recent.remember_lock(7, LockView(LOCK_UUID, "thief", 1))
    assert recent.lock(7) == seen
    recent.remember_lock(7, LockView(LOCK_UUID, "globex", 2))
    assert recent.lock(7) == LockView(LOCK_UUID, "globex", 2, seen_at=(0, 4))
    recent.remember_lock(7, LockView(LOCK_UUID, "third", 3, seen_at=(0, 9)))
    assert recent.lock(7) == LockView(LOCK_UUID, "third", 3, seen_at=(0, 9))
    monkeypatch.setattr("command_api.recent_events.LOCKS_KEPT", 2)
    for lock_id, version in ((8, 1), (7, 4), (9, 1)):
        recent.remember_lock(lock_id, LockView(LOCK_UUID, "acme", version))
    assert [recent.lock(n) is None for n in (7, 8, 9)] == [False, True, False]
    assert recent.covered_from(0) == 0


async def test_giving_up_leaves_the_others_waiting() -> None:
    recent = recent_from(0)
    one, other = recent.expect("id"), recent.expect("id")
    recent.give_up("id", one)
    assert recent.waiting == 1
    event = used_event()
    recent.take(TOPICS.lock_events, [record(event, 5)])
    recent.take(TOPICS.parked_facts, [parked(9, "01a20943-063b-7611-93e4-06cdc29e2571")])
    assert other.empty()
    assert one.empty()
