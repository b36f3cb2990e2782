"""The same promises on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import msgspec
import pytest

from read_model.fold import CommittedEvent, ParkedFact, Stretch
from read_model.folding import ReadModelMoved
from read_model.rows import Position
from read_model.store import ReadModel
from read_model.tables import LOCK_EVENTS, PARKED_FACTS
from runtime.errors import StreamViolation
from runtime.settings import Settings
from schemas.lock_events import Event, encode_event
from schemas.parked_facts import ParkedHeaders, Reason
from schemas.primitives import MAX_LOCK_ID
from tests.examples_of import LOCK_UUID, TIME, created_event, used_event
from tests.integration.conftest import open_read_model


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
    assert (await read_model.positions(LOCK_EVENTS))[0] == Position(3, 102, -1)


async def test_the_newest_id_is_the_newest_of_all_that_were_folded_in(
    read_model: ReadModel,
) -> None:
    """Whoever restores looks up every id that is not newer."""
    older = UUID("01a20943-063b-7611-93e4-06cdc29e2571")
    newer = UUID("01a20943-063c-7611-93e4-06cdc29e2571")
    await read_model.apply([stretch(0, [created_event(), used_event(event_id=newer)])])
    await read_model.apply([stretch(2, [used_event(version=3, event_id=older)])])
    await read_model.apply([stretch(3, [used_event(version=4)])])
    assert (await read_model.positions(LOCK_EVENTS))[0].newest_id_ms == 0x01A20943063C


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
    assert (await read_model.positions(PARKED_FACTS))[2] == Position(4, 5)
    assert await read_model.count_parked() == 1


def parked(offset: int, event_id: UUID, reason: Reason = "unknown-lock") -> ParkedFact:
    headers = ParkedHeaders(reason, "", "lock-facts", offset, TIME, str(event_id), 9, "acme")
    return ParkedFact(offset, headers)


async def test_of_a_fact_that_was_parked_again_the_last_reason_counts(
    read_model: ReadModel,
) -> None:
    event_id = uuid4()
    facts = [parked(0, event_id), parked(1, event_id, "uuid-taken"), parked(2, uuid4())]
    await read_model.apply_parked([Stretch(2, 0, 3, parked=facts)])
    found = await read_model.parked_fact(event_id)
    assert found is not None
    assert (found.reason, found.source_offset) == ("uuid-taken", 1)
    assert await read_model.parked_facts([event_id, uuid4()]) == {event_id: found}


async def test_reset_forgets_everything(read_model: ReadModel) -> None:
    event_id = uuid4()
    facts = Stretch(0, 0, 1, parked=[parked(0, event_id)])

    async def everything() -> tuple[object, ...]:
        known = await read_model.known(0, [7], [(7, "key-1")], [HISTORY[1].event_id], [LOCK_UUID])
        return (
            *(known.position, known.locks, known.used_counts, known.event_ids, known.uuid_owners),
            *(await read_model.positions(PARKED_FACTS), await read_model.parked_fact(event_id)),
        )

    nothing = await everything()
    for _ in range(2):
        await read_model.apply([stretch(0, HISTORY)])
        await read_model.apply_parked([facts])
        assert all(was != now for was, now in zip(nothing, await everything(), strict=True))
        await read_model.reset()
        assert await everything() == nothing


async def test_several_roles_may_prepare_at_once_and_change_nothing(
    read_model: ReadModel,
) -> None:
    await read_model.apply([stretch(0, HISTORY)])
    before = await read_model.progress()
    await asyncio.gather(*(read_model.prepare() for _ in range(4)))
    assert await read_model.progress() == before


@pytest.mark.parametrize("by_another", [False, True])
async def test_a_file_that_was_replaced_is_noticed_and_begun_anew(
    settings: Settings, by_another: bool
) -> None:
    """What would be written into the old one would be in no file."""
    model = open_read_model(settings)
    await model.prepare()
    await model.apply([stretch(0, HISTORY)])
    before = await model.progress()
    await model.notice_replaced_file()
    assert await model.progress() == before
    if by_another:
        folder = settings.state_dir / "other"
        another = open_read_model(msgspec.structs.replace(settings, state_dir=folder))
        await another.prepare()
        await another.close()
    for file in settings.state_dir.glob("read_model.db*"):
        file.unlink()
    if by_another:
        (folder / "read_model.db").rename(settings.state_dir / "read_model.db")
    await model.notice_replaced_file()
    now = await model.progress()
    assert now.generation != before.generation
    assert now.events[0] == Position()
    await model.close()


async def test_any_number_of_ids_can_be_asked_for(read_model: ReadModel) -> None:
    """The projector asks for those of a whole batch: one left out is a fact recorded twice."""
    events: list[Event] = [
        msgspec.structs.replace(created_event(lock_id=n), aggregate_id=uuid4())
        for n in range(1, 1001)
    ]
    await read_model.apply([stretch(0, events)])
    ids, lock_uuids = [e.event_id for e in events], [e.aggregate_id for e in events]
    known = await read_model.known(0, [], [], [*ids, uuid4()], [*lock_uuids, uuid4()])
    assert known.event_ids == set(ids)
    assert known.uuid_owners == {e.aggregate_id: e.lock_id for e in events}
    facts = [parked(offset, event_id) for offset, event_id in enumerate(ids)]
    await read_model.apply_parked([Stretch(0, 0, len(facts), parked=facts)])
    assert set(await read_model.parked_facts(ids)) == set(ids)


async def test_locks_are_listed_by_id_and_only_for_their_organisation(
    read_model: ReadModel,
) -> None:
    organizations = {5: "acme", 7: "bolt", 9: "acme", 12: "acme"}
    await read_model.apply(
        [stretch(0, [created_event(n, org) for n, org in organizations.items()])]
    )
    assert [row.lock_id for row in await read_model.locks_after(5, None, 2)] == [7, 9]
    assert [row.lock_id for row in await read_model.locks_after(0, "acme", 2)] == [5, 9]
    assert [row.lock_id for row in await read_model.locks_after(9, "acme", 2)] == [12]
    assert await read_model.locks_after(0, "other", 2) == []


async def test_two_that_fold_the_same_at_once_fold_it_once(
    read_model: ReadModel, settings: Settings
) -> None:
    """As a replica does that is still at it when its successor restores. Any error fails it."""
    url = read_model._database._url.render_as_string(hide_password=False)
    others = [open_read_model(settings, url) for _ in range(3)]
    for round_ in range(20):
        events: list[Event] = [created_event(lock_id=100 * round_ + n) for n in range(1, 30)]
        same = stretch(29 * round_, events)
        await asyncio.gather(*(model.apply([same]) for model in (read_model, *others)))
    assert (await read_model.positions(LOCK_EVENTS))[0].next_offset == 29 * 20
    for model in others:
        await model.close()


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
