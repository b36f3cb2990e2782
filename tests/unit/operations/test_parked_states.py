"""What has become of a parked fact, from the stream, the registry and later places."""

from uuid import UUID, uuid4

import pytest

from eventlog.records import Record
from eventlog.registry import Registry
from operations.parked.states import (
    Notes,
    ParkedPlace,
    State,
    _is_counted,
    own_event_id,
    read_place,
    state_of,
)
from read_model.parked_questions import ParkedAt, ParkedFate
from runtime.errors import ConfigurationError
from schemas.parked_facts import ParkedHeaders
from schemas.registry import (
    Entry,
    ParkedDiscard,
    ParkedRepair,
    encode_entry,
    entry_key,
)
from tests.examples_of import TIME

PLACE, LATER = ParkedPlace(3, 17), ParkedAt((3, 18), "unknown-lock", "no lock 7", 41)
OWN, REPAIRED = uuid4(), uuid4()


def notes(*entries: Entry) -> Notes:
    registry = Registry()
    for offset, entry in enumerate(entries):
        record = Record(0, offset, 0, entry_key(entry), encode_entry(entry), ())
        registry.take("registry", [record])
    return Notes(registry)


DISCARD = ParkedDiscard(id="1", places=("3:17",), why="a test", by="alice", created_at=TIME)
REPAIR = ParkedRepair(place="3:17", event_id=REPAIRED, by="alice", created_at=TIME)


@pytest.mark.parametrize(
    ("own", "entries", "fates", "name"),
    [
        (None, (), {}, "waiting"),
        (OWN, (), {}, "waiting"),
        (OWN, (), {OWN: ParkedFate(None, ParkedAt((3, 17), "x", "", 1))}, "waiting"),
        (OWN, (), {OWN: ParkedFate(None, ParkedAt((3, 16), "x", "", 1))}, "waiting"),
        (OWN, (), {OWN: ParkedFate(None, LATER)}, "parked-again"),
        (OWN, (), {OWN: ParkedFate(None, ParkedAt((4, 1), "x", "", 1))}, "parked-again"),
        (OWN, (), {OWN: ParkedFate(7, LATER)}, "recorded"),
        (OWN, (DISCARD,), {OWN: ParkedFate(None, LATER)}, "discarded"),
        (OWN, (DISCARD,), {OWN: ParkedFate(7)}, "recorded"),
        (None, (DISCARD,), {}, "discarded"),
        (None, (REPAIR,), {}, "waiting"),
        (None, (REPAIR,), {REPAIRED: ParkedFate(None, LATER)}, "parked-again"),
        (OWN, (REPAIR,), {REPAIRED: ParkedFate(8)}, "recorded"),
    ],
)
def test_a_parked_fact_has_one_state(
    own: UUID | None, entries: tuple[Entry, ...], fates: dict[UUID, ParkedFate], name: str
) -> None:
    assert state_of(PLACE, own, notes(*entries), fates).name == name
    assert state_of(ParkedPlace(3, 20), None, notes(*entries), fates).name == "waiting"


@pytest.mark.parametrize("text", ["", "3", "3:", "12:0", "3:-1", "²:1", "٣:1", "3:1\n", "03:1:1"])
def test_a_place_has_one_spelling(text: str) -> None:
    with pytest.raises(ConfigurationError, match="PARTITION:OFFSET"):
        read_place(text, 12)


def test_a_place_is_a_partition_that_there_is_and_an_offset() -> None:
    assert read_place("11:0", 12) == ParkedPlace(11, 0)
    assert read_place("0:999999999999999999", 12) == ParkedPlace(0, 999999999999999999)
    assert str(ParkedPlace(3, 17)) == "3:17"
    with pytest.raises(ConfigurationError) as refused:
        read_place("12:0", 12)
    assert (
        str(refused.value) == "'12:0' is not PARTITION:OFFSET; `lockstream parked list` shows them"
    )


def test_what_the_registry_says_is_found_by_place() -> None:
    several = ParkedDiscard(id="2", places=("4:1", "4:2"), why="w", by="bob", created_at=TIME)
    noted = notes(DISCARD, several, REPAIR)
    assert noted.discards == {
        PLACE: DISCARD,
        ParkedPlace(4, 1): several,
        ParkedPlace(4, 2): several,
    }
    assert noted.repairs == {PLACE: REPAIRED}
    assert noted.event_ids(PLACE, OWN) == [OWN, REPAIRED]
    assert noted.event_ids(PLACE, None) == [REPAIRED]
    assert noted.event_ids(ParkedPlace(4, 1), OWN) == [OWN]
    assert noted.event_ids(ParkedPlace(4, 1), None) == []


def test_a_state_is_told_with_what_one_wants_to_know_of_it() -> None:
    nothing = notes()
    assert str(state_of(PLACE, OWN, nothing, {})) == "waiting"
    recorded = state_of(PLACE, OWN, nothing, {OWN: ParkedFate(7, LATER)})
    assert (recorded, str(recorded)) == (State("recorded", version=7), "recorded as version 7")
    discarded = state_of(PLACE, OWN, notes(DISCARD), {})
    assert discarded == State("discarded", discard=DISCARD)
    assert str(discarded) == f"discarded by alice at {TIME}: a test"
    again = state_of(PLACE, OWN, nothing, {OWN: ParkedFate(None, LATER)})
    assert (again, str(again)) == (State("parked-again", again=LATER), "parked again as 3:18")
    assert str(State("recorded")) == "recorded"


def test_an_event_id_of_the_fact_may_be_unknown() -> None:
    headers = ParkedHeaders("undecodable", "", "lock-facts", 12, TIME)
    assert own_event_id(headers) is None
    known = ParkedHeaders("unknown-lock", "", "lock-facts", 12, TIME, event_id=str(OWN))
    assert own_event_id(known) == OWN


def test_a_fact_counts_once_at_its_latest_place_and_not_when_recorded() -> None:
    here = ParkedAt((3, 17), "x", "", 1)
    assert _is_counted(PLACE, None)
    assert _is_counted(PLACE, ParkedFate(None, here))
    assert not _is_counted(PLACE, ParkedFate(7, here))
    assert not _is_counted(PLACE, ParkedFate(None, None))
    assert not _is_counted(PLACE, ParkedFate(None, LATER))
