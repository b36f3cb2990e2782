import pytest

from fanout.decisions import delivers
from schemas.lock_events import EventHeaders
from schemas.registry import EarlierTypes, Partner
from tests.examples_of import TIME


@pytest.mark.parametrize(
    ("org_id", "types", "delivered"),
    [
        ("acme", ("*",), True),
        ("acme", ("TempKeyUsed",), True),
        ("acme", ("LockCreated", "TempKeyUsed"), True),
        ("acme", ("LockCreated",), False),
        ("acme2", ("*",), False),
        ("ACME", ("*",), False),
    ],
)
def test_a_partner_gets_its_own_organisations_events_of_its_types(
    org_id: str, types: tuple[str, ...], delivered: bool
) -> None:
    partner = Partner(id="p", org_id="acme", types=types, start_offsets=(0,), created_at=TIME)
    assert delivers(EventHeaders("id", "TempKeyUsed", org_id, 1, 0), partner, 0, 0) is delivered


CHANGED = Partner(
    id="p",
    org_id="acme",
    types=("*",),
    start_offsets=(0, 0),
    created_at=TIME,
    earlier=(EarlierTypes(("LockCreated",), (10, 4)), EarlierTypes(("TempKeyUsed",), (10, 8))),
)


@pytest.mark.parametrize(
    ("partition", "offset", "types"),
    [
        *[(1, 0, {"LockCreated"}), (1, 3, {"LockCreated"})],
        *[(1, 4, {"TempKeyUsed"}), (1, 7, {"TempKeyUsed"})],
        *[(1, 8, {"LockCreated", "TempKeyUsed"}), (1, 99, {"LockCreated", "TempKeyUsed"})],
        # Where no event came between two changes.
        *[(0, 9, {"LockCreated"}), (0, 10, {"LockCreated", "TempKeyUsed"})],
    ],
)
def test_the_types_that_held_where_an_event_stands_decide(
    partition: int, offset: int, types: set[str]
) -> None:
    given = {
        event_type
        for event_type in ("LockCreated", "TempKeyUsed")
        if delivers(EventHeaders("id", event_type, "acme", 1, 0), CHANGED, partition, offset)
    }
    assert given == types
    theirs = EventHeaders("id", "LockCreated", "bolt", 1, 0)
    assert not delivers(theirs, CHANGED, partition, offset)
