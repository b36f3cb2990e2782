"""The same promises on SQLite and on PostgreSQL."""

from collections.abc import Sequence
from uuid import uuid4

import pytest

from lockstream.read_model.fold import CommittedEvent, ParkedFact, Stretch
from lockstream.read_model.store import ReadModel, ReadModelMoved
from lockstream.read_model.tables import LOCK_EVENTS, PARKED_FACTS
from lockstream.runtime.errors import StreamViolation
from lockstream.schemas.lock_events import Event, encode_event
from lockstream.schemas.parked_facts import ParkedHeaders
from lockstream.schemas.primitives import MAX_LOCK_ID
from tests.examples_of import LOCK_UUID, TIME, created_event, used_event


def stretch(begin: int, events: Sequence[Event], partition: int = 0) -> Stretch:
    committed = [
        CommittedEvent(begin + i, begin + i + 100, event, encode_event(event))
        for i, event in enumerate(events)
    ]
    return Stretch(partition, begin, begin + len(events), events=committed)


HISTORY: list[Event] = [created_event(), used_event(version=2), used_event(version=3, used_count=2)]


async def test_rows_and_position_move_together(read_model: ReadModel) -> None:
    await read_model.apply([stretch(0, HISTORY)])
    row, position = await read_model.lock(7, 0)
    assert row is not None
    assert (row.version, row.org_id, row.lock_uuid) == (3, "acme", LOCK_UUID)
    assert (position.next_offset, position.source_offset) == (3, 102)


async def test_applying_a_stretch_again_changes_nothing(read_model: ReadModel) -> None:
    await read_model.apply([stretch(0, HISTORY)])
    await read_model.apply([stretch(0, HISTORY)])
    await read_model.apply([stretch(0, HISTORY[:2])])
    events = (await read_model.events_of(7, 0, "acme", 0, 10))[0]
    assert [event.version for event in events] == [1, 2, 3]
    assert (await read_model.positions(LOCK_EVENTS))[0].next_offset == 3


async def test_a_stretch_with_a_gap_before_it_is_refused_whole(read_model: ReadModel) -> None:
    with pytest.raises(ReadModelMoved):
        await read_model.apply([stretch(1, HISTORY[1:])])
    assert (await read_model.lock(7, 0))[0] is None


async def test_a_version_gap_is_refused_whole(read_model: ReadModel) -> None:
    with pytest.raises(StreamViolation):
        await read_model.apply([stretch(0, [HISTORY[0], HISTORY[2]])])
    assert (await read_model.lock(7, 0))[0] is None
    assert (await read_model.positions(LOCK_EVENTS))[0].next_offset == 0


async def test_one_transaction_takes_stretches_of_several_partitions(read_model: ReadModel) -> None:
    other: list[Event] = [created_event(lock_id=8), used_event(lock_id=8, version=2)]
    await read_model.apply(
        [stretch(0, HISTORY[:1]), stretch(0, other, partition=1), stretch(1, HISTORY[1:])]
    )
    assert await read_model.known_lock_ids([7, 8, 9]) == {7, 8}
    positions = await read_model.positions(LOCK_EVENTS)
    assert (positions[0].next_offset, positions[1].next_offset) == (3, 2)


async def test_the_projector_finds_all_that_it_asks_for(read_model: ReadModel) -> None:
    await read_model.apply([stretch(0, HISTORY)])
    known = await read_model.known(
        0,
        [7, 8],
        [(7, "key-1"), (7, "key-2")],
        [HISTORY[1].event_id, uuid4()],
        [LOCK_UUID, uuid4()],
    )
    assert known.locks[7].version == 3
    assert set(known.locks) == {7}
    assert known.used_counts == {(7, "key-1"): 2}
    assert known.event_ids == {HISTORY[1].event_id}
    assert known.uuid_owners == {LOCK_UUID: 7}


async def test_of_locks_with_one_uuid_the_smallest_is_named(read_model: ReadModel) -> None:
    await read_model.apply([stretch(0, [created_event(lock_id=n) for n in (9, 7, 8)])])
    assert await read_model.uuid_owners([LOCK_UUID, uuid4()]) == {LOCK_UUID: 7}
    assert await read_model.uuid_owners([]) == {}


async def test_an_event_is_found_by_its_id(read_model: ReadModel) -> None:
    await read_model.apply([stretch(0, HISTORY)])
    found = await read_model.event(HISTORY[2].event_id)
    assert found is not None
    assert (found.version, found.source_offset) == (3, 102)
    assert found.value == encode_event(HISTORY[2])
    assert await read_model.event(uuid4()) is None


async def test_events_are_paged_by_version_and_only_for_their_organisation(
    read_model: ReadModel,
) -> None:
    moved: Event = used_event(version=4, org_id="other")
    await read_model.apply([stretch(0, [*HISTORY, moved])])
    page = (await read_model.events_of(7, 0, "acme", 1, 1))[0]
    assert [event.version for event in page] == [2]
    assert [e.version for e in (await read_model.events_of(7, 0, "acme", 0, 10))[0]] == [1, 2, 3]
    assert [e.version for e in (await read_model.events_of(7, 0, "other", 0, 10))[0]] == [4]


async def test_parked_facts_are_found_by_their_event_id(read_model: ReadModel) -> None:
    event_id = uuid4()
    headers = ParkedHeaders(
        "unknown-lock", "no lock 9", "lock-facts", 5, TIME, str(event_id), 9, "acme"
    )
    parked = Stretch(2, 3, 4, parked=[ParkedFact(3, headers)])
    await read_model.apply_parked([parked])
    await read_model.apply_parked([parked])
    found = await read_model.parked_fact(event_id)
    assert found is not None
    assert (found.reason, found.lock_id, found.org_id) == ("unknown-lock", 9, "acme")
    assert (await read_model.positions(PARKED_FACTS))[2].source_offset == 5


async def test_reset_forgets_everything(read_model: ReadModel) -> None:
    await read_model.apply([stretch(0, HISTORY)])
    await read_model.reset()
    assert (await read_model.lock(7, 0))[0] is None
    await read_model.apply([stretch(0, HISTORY)])
    assert (await read_model.lock(7, 0))[0] is not None


async def test_several_roles_may_prepare_at_once(read_model: ReadModel) -> None:
    import asyncio

    await asyncio.gather(*(read_model.prepare() for _ in range(4)))


async def test_thousands_of_events_in_one_transaction(read_model: ReadModel) -> None:
    events: list[Event] = [created_event(lock_id=n) for n in range(1, 3001)]
    await read_model.apply([stretch(0, events)])
    assert len(await read_model.known_lock_ids(range(1, 4001))) == 3000


async def test_stored_values_are_found_by_lock_and_version(read_model: ReadModel) -> None:
    large: list[Event] = [created_event(lock_id=MAX_LOCK_ID)]
    many: list[Event] = [created_event(lock_id=n) for n in range(10, 3010)]
    await read_model.apply([stretch(0, [*HISTORY, *large, *many])])
    held = [(e.lock_id, e.version) for e in (*HISTORY, *large, *many)]
    found = await read_model.event_values([*held, (7, 4), (8, 1), (MAX_LOCK_ID, 2)])
    assert found == dict(zip(held, map(encode_event, (*HISTORY, *large, *many)), strict=True))
    assert await read_model.event_values([]) == {}


async def test_positions_of_several_partitions_move_each_by_its_own(read_model: ReadModel) -> None:
    stretches = [stretch(0, [created_event(lock_id=100 + p)], partition=p) for p in range(2)]
    await read_model.apply([*stretches, Stretch(2, 0, 9)])
    positions = await read_model.positions(LOCK_EVENTS)
    assert {p: at.next_offset for p, at in positions.items()} == {0: 1, 1: 1, 2: 9}
    parked = await read_model.positions(PARKED_FACTS)
    assert {at.next_offset for at in parked.values()} == {0}


async def test_temp_keys_are_told_apart_whatever_they_are_called(read_model: ReadModel) -> None:
    names = ['a"b', "a\\b", "schlüssel-🗝", "[1]", "null"]
    events: list[Event] = [created_event()]
    events += [
        used_event(version=n + 2, temp_key=name, used_count=n + 1) for n, name in enumerate(names)
    ]
    await read_model.apply([stretch(0, events)])
    known = await read_model.known(0, [], [(7, name) for name in (*names, "ab")], [], [])
    assert known.used_counts == {(7, name): n + 1 for n, name in enumerate(names)}
