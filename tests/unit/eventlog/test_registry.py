"""The registry: the latest entry of every key, whatever else anybody writes into the topic."""

import asyncio

import pytest

from eventlog.records import Output, Record
from eventlog.registry import Registry, Removal, _output
from schemas.registry import (
    ApiKey,
    ApiKeyUse,
    Entry,
    Organization,
    Partner,
    PositionKey,
    Replay,
    encode_entry,
    entry_key,
)
from tests.examples_of import TIME

ACME = Organization(id="acme", created_at=TIME)
KEY = ApiKey(key_id="k", org_id="acme", sha256="00", created_at=TIME)
USE = ApiKeyUse(key_id="k", last_used_at=TIME)
CRM = Partner(id="crm", org_id="acme", types=("*",), start_offsets=(0,), created_at=TIME)


def record(key: bytes | None, value: bytes | None, offset: int = 0) -> Record:
    return Record(0, offset, 0, key, value, ())


def entry(written: Entry) -> Record:
    return record(entry_key(written), encode_entry(written))


def registry_of(*records: Record) -> Registry:
    registry = Registry()
    registry.take("registry", records)
    return registry


def test_entries_are_found_by_their_own_kind_and_id_only() -> None:
    registry = registry_of(entry(ACME), entry(KEY), entry(USE), entry(CRM))
    assert (registry.organization("acme"), registry.partner("crm")) == (ACME, CRM)
    assert (registry.api_key("k"), registry.api_key_use("k")) == (KEY, USE)
    for ask in (registry.organization, registry.partner, registry.api_key, registry.api_key_use):
        assert ask("other") is None
    assert registry.all(Partner) == [CRM]


def replay(partner_id: str, number: int) -> Replay:
    return Replay(
        partner_id=partner_id,
        number=number,
        org_id="acme",
        types=("*",),
        start_offsets=(0,),
        end_offsets=(1,),
        created_at=TIME,
    )


def test_a_partners_replays_come_by_number_and_no_other_partners() -> None:
    numbers = (1, 2, 10, 9)
    registry = registry_of(
        *(entry(replay("crm", n)) for n in numbers), entry(replay("crm.1", 1)), entry(CRM)
    )
    assert [one.number for one in registry.replays("crm")] == [1, 2, 9, 10]
    assert registry.replay("crm", 9) == replay("crm", 9)
    assert registry.replay("crm", 3) is None
    assert registry.replay("crm.1", 1) == replay("crm.1", 1)
    assert registry.partner("crm") == CRM


def test_what_stands_under_an_entrys_key_now_is_found() -> None:
    renewed = Organization(id="acme", created_at="2027-01-01T00:00:00.000Z")
    registry = registry_of(entry(ACME), entry(renewed))
    assert registry.current(ACME) == renewed
    assert registry.current(CRM) is None


def test_there_is_one_position_key() -> None:
    key = PositionKey(key="5e" * 32, created_at=TIME)
    assert registry_of().position_key is None
    assert registry_of(entry(key), entry(ACME)).position_key == key


def test_all_of_a_kind_come_by_key_and_the_latest_of_a_key_counts() -> None:
    entries = [Organization(id=name, created_at=TIME) for name in ("b", "c", "a")]
    renewed = Organization(id="c", created_at="2027-01-01T00:00:00.000Z")
    registry = registry_of(*map(entry, entries), entry(renewed))
    assert [o.id for o in registry.all(Organization)] == ["a", "b", "c"]
    assert registry.organization("c") == renewed


def test_a_tombstone_takes_an_entry_away_and_one_for_nothing_takes_none() -> None:
    registry = registry_of(entry(ACME), record(b"org/none", None), record(None, None), entry(KEY))
    assert registry.organization("acme") == ACME
    registry.take("registry", [record(b"org/acme", None)])
    assert registry.organization("acme") is None
    assert registry.api_key("k") == KEY


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (b"org/acme", b'{"kind":"organization","id":"\xff"}', "invalid start byte"),
        (b"org/acme", b"{", "Input data was truncated"),
        (b"org/acme", b'{"kind":"organization","x":' + b"[" * 100_000, "JSON is nested too deep"),
        (b"org/acme", b'{"kind":"a later one"}', "Invalid value 'a later one'"),
        (b"org/acme", encode_entry(KEY), "its key is not key/k"),
        (None, encode_entry(ACME), "its key is not org/acme"),
    ],
)
def test_one_bad_entry_is_reported_and_stops_nobody(
    key: bytes | None, value: bytes, why: str, logged_errors: list[str]
) -> None:
    registry = registry_of(entry(ACME), record(key, value, 41), entry(KEY))
    assert (registry.organization("acme"), registry.api_key("k")) == (ACME, KEY)
    (line,) = logged_errors
    assert line.startswith("registry offset 41 is not an entry: ")
    assert why in line
    logged_errors.clear()


async def test_a_change_that_came_before_anybody_waited_is_not_missed() -> None:
    registry = registry_of(entry(ACME))
    await asyncio.wait_for(registry.changed(), 5)


async def test_whoever_waits_for_a_change_is_woken_by_each_once() -> None:
    registry = Registry()
    waiting = asyncio.create_task(registry.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    registry.take("registry", [entry(ACME)])
    await asyncio.wait_for(waiting, 5)
    again = asyncio.create_task(registry.changed())
    await asyncio.sleep(0)
    assert not again.done()
    registry.take("registry", [])
    await asyncio.wait_for(again, 5)


def test_an_entry_is_written_under_its_key_and_a_removal_as_a_tombstone() -> None:
    assert _output("t", ACME) == Output("t", b"org/acme", encode_entry(ACME))
    assert _output("t", Removal(ACME)) == Output("t", b"org/acme", None)
