from datetime import datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from projector.decisions import (
    Decision,
    Duplicate,
    LockState,
    Parked,
    canonical_time,
    decide,
)
from schemas.lock_events import (
    LockCreatedEvent,
    OrganizationSetEvent,
    RecordedTempKeyUse,
    TempKeyUsedEvent,
)
from schemas.lock_facts import Fact
from schemas.primitives import write_time
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


LOCAL = "2026-11-23T11:00:00.123456+01:00"
LATER = "2026-11-23T10:00:01.000Z"


def decided_later(fact: Fact, lock: LockState | None) -> Decision:
    local = replace(fact, occurred_at=LOCAL)
    return decide(local, lock, uuid_owner=None, used_before=3, seen=False, recorded_at=LATER)


def test_an_event_says_all_that_its_fact_says_and_what_the_projector_knows() -> None:
    created, moved, used = lock_created(), organization_set(), temp_key_used(user_id="u")
    common = {"occurred_at": TIME, "recorded_at": LATER, "aggregate_id": LOCK_UUID}
    assert decided_later(created, None) == LockCreatedEvent(
        event_id=created.event_id,
        lock_id=7,
        actor=created.actor,
        org_id="acme",
        version=1,
        data=created.data,
        **common,  # type: ignore[arg-type]
    )
    assert decided_later(moved, LOCK) == OrganizationSetEvent(
        event_id=moved.event_id,
        lock_id=7,
        actor=moved.actor,
        org_id="other",
        version=5,
        data=moved.data,
        **common,  # type: ignore[arg-type]
    )
    assert decided_later(used, LOCK) == TempKeyUsedEvent(
        event_id=used.event_id,
        lock_id=7,
        actor=used.actor,
        org_id="acme",
        version=5,
        data=RecordedTempKeyUse(
            temp_key_uuid="key-1", lock_uuid=LOCK_UUID, lock_id=7, used_count=4, user_id="u"
        ),
        **common,  # type: ignore[arg-type]
    )


def test_the_reason_in_a_sentence_names_the_lock_and_no_other_organisation() -> None:
    assert decided(temp_key_used(), None) == Parked("unknown-lock", "there is no lock 7")
    assert decided(organization_set(), None) == Parked("unknown-lock", "there is no lock 7")
    assert decided(lock_created(), LOCK) == Parked("lock-exists", "lock 7 was created before")
    assert decided(temp_key_used(org_id="thief"), LOCK) == Parked(
        "organization-mismatch", "recorded for organisation thief, but lock 7 belongs to another"
    )


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T11:00:00+01:00",
        "2026-11-23T10:00:00.1234Z",
        "2026-11-23T10:00:00.1230000Z",
        "2026-11-23T10:00:00.1+00:00",
    ],
)
def test_a_time_as_long_as_ours_is_not_taken_for_ours(text: str) -> None:
    assert canonical_time(text) == write_time(datetime.fromisoformat(text))
