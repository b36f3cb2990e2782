"""A partner is served as it is registered, and not as it was, or as another of its name is."""

from typing import Any, cast

import msgspec
import pytest

from eventlog.records import TopicPartition
from eventlog.tail import Tail
from fanout.registrations import Registrations
from runtime.errors import LanesChanged, Unavailable
from schemas.registry import LaneCount, Partner
from tests.examples_of import TIME, registry_of

TOPIC, END = "registry", 5
SERVED = Partner(id="a", org_id="acme", types=("*",), start_offsets=(0,), created_at=TIME)


LANES = LaneCount(lanes=2, created_at=TIME)


def registrations(*entries: Partner | LaneCount) -> Registrations:
    """Read up to ``END``."""
    registry = registry_of(*entries)
    tail = Tail(cast(Any, None), {TOPIC: {0: 0}}, registry.take)
    tail._positions[TopicPartition(TOPIC, 0)] = END
    return Registrations(registry, tail, TOPIC, LANES.lanes)


async def test_a_partner_that_is_registered_as_it_is_served_is_confirmed() -> None:
    await registrations(SERVED, LANES).confirm(SERVED, END)


@pytest.mark.parametrize(
    "changed",
    [
        {"org_id": "bolt"},
        {"types": ("TempKeyUsed",)},
        {"status": "paused"},
        {"created_at": "2026-11-24T00:00:00.000Z"},
        {"id": "b"},
    ],
    ids=lambda changed: str(*changed),
)
async def test_a_partner_that_is_registered_otherwise_is_not(changed: dict[str, Any]) -> None:
    now = msgspec.structs.replace(SERVED, **changed)
    with pytest.raises(Unavailable, match="partner a is registered differently by now"):
        await registrations(now, LANES).confirm(SERVED, END)


@pytest.mark.parametrize("found", [(), (LaneCount(lanes=3, created_at=TIME),)])
async def test_a_partner_is_not_served_with_a_number_of_lanes_that_is_not_on_record(
    found: tuple[LaneCount, ...],
) -> None:
    with pytest.raises(LanesChanged, match="LOCKSTREAM_LANES"):
        await registrations(SERVED, *found).confirm(SERVED, END)
