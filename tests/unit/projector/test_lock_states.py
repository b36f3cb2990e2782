"""The cache must never make the projector forget an event id, a version or a count."""

from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstream.projector import lock_states
from lockstream.projector.lock_states import LockStates, RecentlyUsed
from lockstream.read_model.fold import id_time_ms
from lockstream.read_model.rows import Known, LockRow, Position
from tests.examples_of import (
    LOCK_UUID,
    TIME,
    created_event,
    lock_created,
    temp_key_used,
    used_event,
)

NOTHING = Known(1, Position(), {}, {}, set(), {})


def uuid7(time_ms: int, tail: int = 0) -> UUID:
    return UUID(int=(time_ms << 80) | (0x7 << 76) | (0x2 << 62) | tail)


def test_the_time_inside_a_uuid7_is_read() -> None:
    assert id_time_ms(uuid7(1795428000123, 5)) == 1795428000123
    assert id_time_ms(uuid4()) == -1


def test_a_new_uuid7_needs_no_look_up() -> None:
    states = LockStates(newest_forgotten_ms=1000)
    fact = temp_key_used(event_id=uuid7(1001))
    assert states.lookups([fact]).event_ids == []


def test_a_uuid7_that_may_have_been_forgotten_is_looked_up() -> None:
    states = LockStates(newest_forgotten_ms=1000)
    fact = temp_key_used(event_id=uuid7(1000))
    assert states.lookups([fact]).event_ids == [fact.event_id]


def test_an_id_from_an_idempotency_key_is_always_looked_up() -> None:
    fact = temp_key_used(event_id=UUID("d47b2c74-a5ad-5818-8605-2676039fedb8"))
    assert LockStates(-1).lookups([fact]).event_ids == [fact.event_id]


def test_what_the_read_model_knows_is_known() -> None:
    states = LockStates(-1)
    fact = temp_key_used()
    asked = states.lookups([fact])
    use = (7, "key-1")
    known = Known(
        1, Position(), {7: LockRow(7, LOCK_UUID, "acme", 4, TIME)}, {use: 3}, {fact.event_id}, {}
    )
    states.learn(asked, known)
    lock = states.lock(7)
    assert lock is not None
    assert lock.version == 4
    assert states.used(*use) == 3
    assert states.seen(fact.event_id)
    assert not states.lookups([fact])


def test_an_absent_lock_is_remembered_as_absent() -> None:
    states = LockStates(-1)
    fact = temp_key_used()
    states.learn(states.lookups([fact]), NOTHING)
    assert states.lock(7) is None
    assert states.lookups([fact]).locks == []


def test_a_uuid_is_looked_up_until_some_lock_has_it() -> None:
    states = LockStates(-1)
    fact = lock_created()
    for _ in range(2):  # that nobody has it may change at any time, in another partition
        asked = states.lookups([fact, fact])
        assert asked.lock_uuids == [LOCK_UUID]
        states.learn(asked, NOTHING)
        assert states.uuid_owner(LOCK_UUID) is None
    states.learn(asked, Known(1, Position(), {}, {}, set(), {LOCK_UUID: 9}))
    assert states.uuid_owner(LOCK_UUID) == 9
    assert states.lookups([fact]).lock_uuids == []


def test_the_uuid_of_a_lock_is_remembered_until_the_read_model_holds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock_states, "LOCKS_KEPT", 2)
    states = LockStates(-1)
    batch = states.begin_batch()
    uuids = [uuid4() for _ in range(5)]
    for lock_id, lock_uuid in enumerate(uuids):
        created = msgspec.structs.replace(created_event(lock_id=lock_id), aggregate_id=lock_uuid)
        states.record(created)
    states.forget()
    assert [states.uuid_owner(lock_uuid) for lock_uuid in uuids] == [0, 1, 2, 3, 4]
    states.folded(batch)
    states.forget()
    assert [states.uuid_owner(lock_uuid) for lock_uuid in uuids[-3:]] == [None, 3, 4]


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=200))
def test_nothing_is_forgotten_that_the_read_model_does_not_hold(
    steps: list[tuple[int, bool]],
) -> None:
    """Each step changes one lock in a batch of its own; some batches are then folded in."""
    cache: RecentlyUsed[int, int] = RecentlyUsed(kept=5)
    truth: dict[int, int] = {}
    folded: dict[int, int] = {}
    for batch, (key, fold_now) in enumerate(steps, start=1):
        truth[key] = batch
        cache.put(key, batch, batch)
        if fold_now:
            folded = dict(truth)
            cache.forget(batch)
        for wanted, value in truth.items():
            found = cache.get(wanted)
            assert (found if found is not None else folded.get(wanted)) == value


def test_what_a_batch_found_remembered_stays_until_it_is_decided() -> None:
    """The fold may finish while the read model is being asked for the rest of the batch."""
    states = LockStates(-1)
    batch = states.begin_batch()
    for lock_id in range(1, lock_states.LOCKS_KEPT + 100):
        states.record(used_event(lock_id=lock_id, version=5, used_count=4))
    oldest = temp_key_used(1)
    assert states.lookups([oldest]).locks == []
    states.folded(batch)
    lock = states.lock(1)
    assert lock is not None
    assert lock.version == 5
    assert states.used(1, "key-1") == 4


def test_ids_are_bounded_and_forgotten_ones_are_looked_up_again() -> None:
    states = LockStates(-1)
    ids = [uuid7(1000 + i) for i in range(lock_states.EVENT_IDS_KEPT + 10)]
    batch = states.begin_batch()
    for event_id in ids:
        states.record(used_event(event_id=event_id))
    assert states.seen(ids[0])
    states.folded(batch)
    assert states.seen(ids[0])
    states.forget()
    assert not states.seen(ids[0])
    assert states.seen(ids[-1])
    again = temp_key_used(event_id=ids[0])
    assert states.lookups([again]).event_ids == [ids[0]]
