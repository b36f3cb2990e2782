import pytest

from fanout.decisions import delivers
from schemas.lock_events import EventHeaders
from schemas.registry import Partner
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
    assert delivers(EventHeaders("id", "TempKeyUsed", org_id, 1, 0), partner) is delivered
