"""What has become of a parked fact, from the stream, the registry and later places."""

from uuid import UUID, uuid4

import pytest

from lockstream.eventlog.kafka import Record
from lockstream.eventlog.registry import Registry
from lockstream.operations.parked_states import Notes, Place, read_place, state_of
from lockstream.read_model.parked_questions import ParkedAt, ParkedFate
from lockstream.runtime.errors import ConfigurationError
from lockstream.schemas.registry import (
    Entry,
    ParkedDiscard,
    ParkedRepair,
    encode_entry,
    entry_key,
)
from tests.examples_of import TIME

PLACE, LATER = Place(3, 17), ParkedAt((3, 18), "unknown-lock", "no lock 7", 41)
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
    assert state_of(Place(3, 20), None, notes(*entries), fates).name == "waiting"


@pytest.mark.parametrize("text", ["", "3", "3:", "12:0", "3:-1", "²:1", "٣:1", "3:1\n", "03:1:1"])
def test_a_place_has_one_spelling(text: str) -> None:
    with pytest.raises(ConfigurationError, match="PARTITION:OFFSET"):
        read_place(text, 12)
