"""What the read model tells of parked facts, on both databases."""

from uuid import UUID, uuid4

from read_model.fold import CommittedEvent, ParkedFact, Stretch
from read_model.parked_questions import ParkedFate
from read_model.store import ReadModel
from schemas.lock_events import encode_event
from schemas.parked_facts import ParkedHeaders
from schemas.topics import partition_of
from tests.examples_of import TIME, created_event
from tests.integration.conftest import PARTITIONS

HOME = partition_of(9, PARTITIONS)
ELSEWHERE = (HOME + 1) % PARTITIONS


def parked(offset: int, event_id: UUID | None) -> ParkedFact:
    of_fact = (str(event_id), 9, "acme") if event_id is not None else (None, None, None)
    headers = ParkedHeaders("unknown-lock", f"{offset}", "lock-facts", offset, TIME, *of_fact)
    return ParkedFact(offset, headers)


async def test_each_fact_that_waits_counts_once(read_model: ReadModel) -> None:
    questions = read_model.parked
    twice, elsewhere, recorded = uuid4(), uuid4(), created_event()
    at_home = [
        parked(0, twice),
        parked(1, None),
        parked(2, None),
        parked(3, twice),
        parked(4, elsewhere),
        parked(5, recorded.event_id),
    ]
    await read_model.apply_parked([Stretch(HOME, 0, 6, parked=at_home)])
    await read_model.apply_parked([Stretch(ELSEWHERE, 9, 10, parked=[parked(9, elsewhere)])])
    assert await questions.count_unrecorded({HOME: 0, ELSEWHERE: 0}) == 5
    event = CommittedEvent(0, 0, recorded, encode_event(recorded))
    await read_model.apply([Stretch(0, 0, 1, events=[event])])
    assert await questions.count_unrecorded({HOME: 0, ELSEWHERE: 0}) == 4
    assert await questions.count_unrecorded({HOME: 2, ELSEWHERE: 0}) == 3
    assert await questions.count_unrecorded({HOME: 6, ELSEWHERE: 10}) == 0
    assert await questions.count_unrecorded({}) == 0

    fates = await questions.fates([twice, elsewhere, recorded.event_id, unknown := uuid4()])
    latest = {i: fate.latest.place if fate.latest else None for i, fate in fates.items()}
    assert latest == {
        twice: (HOME, 3),
        elsewhere: (HOME, 4),  # where its lock lives, whatever stands elsewhere
        recorded.event_id: (HOME, 5),
        unknown: None,
    }
    assert fates[recorded.event_id].version == 1
    assert fates[unknown] == ParkedFate()
    asked = [(HOME, 1), (HOME, 3), (ELSEWHERE, 9), (ELSEWHERE, 1)]
    assert await questions.event_ids_at(asked) == {
        (HOME, 1): None,
        (HOME, 3): twice,
        (ELSEWHERE, 9): elsewhere,
    }


async def test_any_number_of_facts_can_be_asked_for(read_model: ReadModel) -> None:
    ids = [uuid4() for _ in range(1500)]
    facts = [parked(offset, event_id) for offset, event_id in enumerate(ids)]
    await read_model.apply_parked([Stretch(HOME, 0, len(facts), parked=facts)])
    assert len(await read_model.parked.event_ids_at((HOME, i) for i in range(2000))) == 1500
    assert all(fate.latest for fate in (await read_model.parked.fates(ids)).values())
