"""What the fan-out serves, as the registry has it."""

from typing import Any

import msgspec
import pytest

from fanout.served import DECISIVE, is_served_alike, served_by
from schemas.registry import EarlierTypes, Partner, PausedAt, Replay
from schemas.topics import DAY_MS, LockTopics
from tests.examples_of import TIME, registry_of

TOPICS = LockTopics("t-", 2)
LATER = "2026-11-24T00:00:00.000Z"
CONCERNS_NO_STAGE = {"credentials", "max_rate", "retention_ms"}
"""Fields of a partner's entry that have nothing to do with what it is sent."""


def partner(partner_id: str, **more: Any) -> Partner:
    return Partner(
        id=partner_id, org_id="acme", types=("*",), start_offsets=(0, 0), created_at=TIME, **more
    )


def replay(partner_id: str, number: int, **more: Any) -> Replay:
    return Replay(
        partner_id=partner_id,
        number=number,
        org_id="acme",
        types=("*",),
        start_offsets=(0, 0),
        end_offsets=(5, 7),
        created_at=TIME,
        **more,
    )


def test_active_partners_and_running_replays_are_served_each_by_a_group_of_its_own() -> None:
    registry = registry_of(
        partner("a"),
        partner("b", status="paused"),
        partner("c", status="removed"),
        replay("a", 1, status="ended"),
        replay("a", 2),
        replay("a", 3, status="cancelled"),
        replay("b", 1),
        replay("c", 1),
        replay("nobody", 1),
    )
    served = served_by(registry, TOPICS, DAY_MS)
    assert {name: (one.group, one.topic.name) for name, one in served.items()} == {
        "a": ("t-fanout.a", "t-partner.a.lock-events"),
        "a/replay.2": ("t-fanout.a/replay.2", "t-partner.a.lock-events.replay.2"),
        "b/replay.1": ("t-fanout.b/replay.1", "t-partner.b.lock-events.replay.1"),
    }
    assert {(one.stage, one.partner) for one in served.values()} == {
        ("fanout", "a"),
        ("replay", "a/2"),
        ("replay", "b/1"),
    }


CHANGES: dict[str, Any] = {
    "id": "b",
    "org_id": "bolt",
    "created_at": LATER,
    "status": "paused",
    "types": ("TempKeyUsed",),
    "earlier": (EarlierTypes(("LockCreated",), (1, 1)),),
    "start_offsets": (0, 1),
    "paused_at": (PausedAt(1, 1, 1),),
}


@pytest.mark.parametrize("name", DECISIVE)
def test_whatever_decides_on_deliveries_makes_another_entry(name: str) -> None:
    now = msgspec.structs.replace(partner("a"), **{name: CHANGES[name]})
    assert not is_served_alike(partner("a"), now)


def test_every_field_of_a_partner_decides_on_deliveries_or_concerns_no_stage() -> None:
    fields = {field.name for field in msgspec.structs.fields(Partner)}
    assert fields - CONCERNS_NO_STAGE == set(DECISIVE)


def test_an_entry_is_served_as_it_is_and_not_as_another_of_its_name() -> None:
    assert is_served_alike(partner("a"), partner("a"))
    assert not is_served_alike(partner("a"), None)
    assert not is_served_alike(partner("a"), replay("a", 1))
    assert is_served_alike(replay("a", 1), replay("a", 1))
    assert not is_served_alike(replay("a", 1), replay("a", 1, status="cancelled"))
    assert not is_served_alike(replay("a", 1), None)
