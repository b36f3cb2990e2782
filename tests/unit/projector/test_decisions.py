from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstream.projector.decisions import (
    Decision,
    Duplicate,
    LockState,
    Parked,
    canonical_time,
    decide,
)
from lockstream.schemas.lock_events import (
    LockCreatedEvent,
    OrganizationSetEvent,
    TempKeyUsedEvent,
)
from lockstream.schemas.lock_facts import Fact
from tests.examples_of import LOCK_UUID, TIME, lock_created, organization_set, temp_key_used

LOCK = LockState(LOCK_UUID, "acme", 4)


def decided(
    fact: Fact,
    lock: LockState | None,
    used: int = 0,
    seen: bool = False,
    uuid_owner: int | None = None,
) -> Decision:
    return decide(fact, lock, uuid_owner=uuid_owner, used_before=used, seen=seen, recorded_at=TIME)


def test_a_use_gets_the_next_version_and_count() -> None:
    event = decided(temp_key_used(user_id="u"), LOCK, used=2)
    assert isinstance(event, TempKeyUsedEvent)
    assert (event.version, event.data.used_count, event.org_id) == (5, 3, "acme")
    assert event.data.lock_uuid == event.aggregate_id == LOCK_UUID
    assert event.data.user_id == "u"


def test_a_new_lock_begins_at_version_1() -> None:
    event = decided(lock_created(), None)
    assert isinstance(event, LockCreatedEvent)
    assert (event.version, event.org_id) == (1, "acme")


def test_a_lock_moves_to_another_organisation_at_its_next_version() -> None:
    event = decided(organization_set(org_id="other"), LOCK)
    assert isinstance(event, OrganizationSetEvent)
    assert (event.version, event.org_id) == (5, "other")


@pytest.mark.parametrize("fact", [lock_created(), organization_set(), temp_key_used()])
def test_a_fact_that_was_versioned_before_is_dropped(fact: Fact) -> None:
    assert decided(fact, LOCK, seen=True) == Duplicate()


@pytest.mark.parametrize(
    ("fact", "lock", "reason"),
    [
        (temp_key_used(), None, "unknown-lock"),
        (organization_set(), None, "unknown-lock"),
        (lock_created(), LOCK, "lock-exists"),
        (temp_key_used(org_id="thief"), LOCK, "organization-mismatch"),
    ],
)
def test_an_impossible_fact_is_parked_with_its_reason(
    fact: Fact, lock: LockState | None, reason: str
) -> None:
    decision = decided(fact, lock)
    assert isinstance(decision, Parked)
    assert decision.reason == reason
    assert decision.detail


def test_a_lock_gets_no_uuid_that_another_has() -> None:
    decision = decided(lock_created(), None, uuid_owner=8)
    assert decision == Parked("uuid-taken", f"lock 8 has the uuid {LOCK_UUID}")


def test_a_lock_that_exists_and_a_fact_that_was_seen_are_told_so_first() -> None:
    exists = decided(lock_created(), LOCK, uuid_owner=7)
    assert isinstance(exists, Parked)
    assert exists.reason == "lock-exists"
    assert decided(lock_created(), None, seen=True, uuid_owner=7) == Duplicate()


def test_a_trusted_service_without_an_organisation_may_record_a_use() -> None:
    assert isinstance(decided(temp_key_used(org_id=None), LOCK), TempKeyUsedEvent)


@given(st.lists(st.sampled_from(["use", "move", "again", "create"]), max_size=40))
def test_versions_have_no_gaps_whatever_comes(steps: list[str]) -> None:
    lock: LockState | None = None
    seen = set()
    last = temp_key_used(org_id=None)
    versions = []
    for step in ["create", *steps]:
        choices: dict[str, Fact] = {
            "use": temp_key_used(org_id=None, event_id=uuid4()),
            "move": organization_set(),
            "again": last,
            "create": lock_created(),
        }
        fact = choices[step]
        decision = decided(fact, lock, seen=fact.event_id in seen)
        if isinstance(decision, Duplicate | Parked):
            continue
        seen.add(fact.event_id)
        versions.append(decision.version)
        lock = LockState(decision.aggregate_id, decision.org_id, decision.version)
    assert versions == list(range(1, len(versions) + 1))


@pytest.mark.parametrize(
    ("given_time", "written"),
    [
        (TIME, TIME),
        ("2026-11-23T11:00:00+01:00", "2026-11-23T10:00:00.000Z"),
        ("2026-11-23T10:00:00.123456Z", TIME),
    ],
)
def test_times_are_written_in_utc_with_milliseconds(given_time: str, written: str) -> None:
    assert canonical_time(given_time) == written
