"""The cache must never make the projector forget an event id, a version or a count."""

from collections import Counter
from collections.abc import Sequence
from itertools import count
from unittest.mock import patch
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from projector import lock_states
from projector.decisions import LockState
from projector.lock_states import FactLookups, LockStates, RecentlyUsed
from projector.lock_uuids import LockUuids
from read_model.rows import Known, LockRow, Position
from schemas.lock_events import Event
from schemas.lock_facts import Fact
from schemas.primitives import default_lock_uuid, id_time_ms
from tests.examples_of import (
    LOCK_UUID,
    TIME,
    created_event,
    lock_created,
    organization_set,
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


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 5), st.booleans()), max_size=80),
    st.integers(0, 4),
)
def test_nothing_is_forgotten_that_the_read_model_does_not_hold(
    steps: list[tuple[int, int, bool]], kept: int
) -> None:
    """Each step changes one value in a batch of its own; the read model holds the changes up to a
    batch that lags behind by some. Then the cache may be asked to forget."""
    cache: RecentlyUsed[int, int] = RecentlyUsed(kept)
    values: dict[int, int] = {}
    folded = 0
    for batch, (key, lag, forgets) in enumerate(steps, start=1):
        values[key] = batch
        cache.put(key, batch, batch)
        folded = max(folded, batch - lag)
        if forgets:
            before = [key for key in values if key in cache]
            gone = cache.forget(folded)
            assert sorted(gone) == sorted(key for key in before if key not in cache)
            unfolded = [key for key, value in values.items() if value > folded]
            # As few as there may be: what is kept, or what can't be forgotten yet.
            assert len(cache) == min(len(before), max(kept, len(unfolded)))
        for wanted, value in values.items():
            # Remembered as it is now; forgotten only if the read model says the same.
            assert (wanted in cache) or value <= folded
            assert wanted not in cache or cache._entries[wanted] == (value, value)


def test_what_was_used_last_is_forgotten_last() -> None:
    cache: RecentlyUsed[str, int] = RecentlyUsed(kept=2)
    for key in "abcd":
        cache.put(key, 1, 0)
    assert cache.get("a") == 1
    cache.put("b", 2, 0)
    assert cache.get("none") is None
    assert cache.forget(0) == ["c", "d"]
    assert (cache.get("a"), cache.get("b"), len(cache)) == (1, 2, 2)
    assert cache.forget(0) == []


class Projected:
    """``LockStates`` with what the log and the read model hold beside them."""

    def __init__(self) -> None:
        self.states = LockStates(-1)
        self.log: list[Event] = []
        self.folded = 0
        self._ends: list[int] = []

    def decide(self, events: Sequence[Event]) -> None:
        """One batch, as the projector has one after the other."""
        self.states.forget()
        self.states.begin_batch()
        for event in events:
            self.states.record(event)
            self.log.append(event)
        self._ends.append(len(self.log))

    def fold(self, batch: int) -> None:
        self.states.folded(batch)
        self.folded = max(self.folded, self._ends[batch - 1])

    def check(self) -> None:
        """Together they know the state after the last event."""
        for at, event in enumerate(self.log):
            is_folded = at < self.folded
            again = temp_key_used(event.lock_id, event_id=event.event_id)
            asked = self.states.lookups([again])
            assert self.states.seen(event.event_id) or (is_folded and asked.event_ids)
            later = [e for e in self.log[at + 1 :] if e.lock_id == event.lock_id]
            if not later:
                lock = self.states.lock(event.lock_id)
                state = LockState(event.aggregate_id, event.org_id, event.version)
                assert lock == state or (is_folded and lock is None and asked.locks)
                count = self.states.used(event.lock_id, "key-1")
                assert count == event.version or (is_folded and asked.temp_keys)


BATCH = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 40)), max_size=8)


@given(st.lists(st.tuples(BATCH, st.integers(0, 3)), max_size=12))
def test_cache_and_read_model_together_forget_no_lock_no_count_and_no_id(
    batches: list[tuple[list[tuple[int, int]], int]],
) -> None:
    """Batches of uses, whose event ids' times come in any order; the fold lags by some batches."""
    with (
        patch.object(lock_states, "LOCKS_KEPT", 3),
        patch.object(lock_states, "TEMP_KEYS_KEPT", 2),
        patch.object(lock_states, "EVENT_IDS_KEPT", 4),
    ):
        projected = Projected()
    versions: Counter[int] = Counter()
    ids = count()
    for number, (batch, lag) in enumerate(batches, start=1):
        events = []
        for lock_id, time_ms in batch:
            versions[lock_id] += 1
            version, event_id = versions[lock_id], uuid7(time_ms, next(ids))
            events.append(used_event(lock_id, version, used_count=version, event_id=event_id))
        projected.decide(events)
        if number > lag:
            projected.fold(number - lag)
        projected.check()


def test_the_newest_of_all_forgotten_ids_counts_whichever_went_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock_states, "EVENT_IDS_KEPT", 1)
    states = LockStates(-1)
    batch = states.begin_batch()
    for time_ms in (5000, 1000, 9000):
        states.record(used_event(event_id=uuid7(time_ms)))
    states.folded(batch)
    states.forget()  # 5000, then 1000
    assert states.lookups([temp_key_used(event_id=uuid7(5000))]).event_ids == [uuid7(5000)]
    assert states.lookups([temp_key_used(event_id=uuid7(5001))]).event_ids == []
    assert states.lookups([temp_key_used(event_id=uuid7(9000))]).event_ids == []


def test_ids_of_other_versions_are_forgotten_without_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock_states, "EVENT_IDS_KEPT", 0)
    states = LockStates(newest_forgotten_ms=1000)
    states.record(used_event(event_id=uuid4()))
    states.forget()
    assert states.lookups([temp_key_used(event_id=uuid7(1001))]).event_ids == []


def test_folds_that_come_late_take_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_states, "LOCKS_KEPT", 0)
    states = LockStates(-1)
    first, second = states.begin_batch(), states.begin_batch()
    assert second == first + 1
    states.record(used_event())
    states.folded(second)
    states.folded(first)
    states.forget()
    assert states.lookups([temp_key_used()]).locks == [7]


def test_look_ups_ask_for_each_thing_once_and_for_nothing_that_is_remembered() -> None:
    states = LockStates(newest_forgotten_ms=10)
    old, new = uuid7(10), uuid7(11)
    facts: list[Fact] = [
        temp_key_used(7, "a", event_id=old),
        temp_key_used(7, "a", event_id=new),
        temp_key_used(7, "b", event_id=new),
        lock_created(8, event_id=new),
        organization_set(9),
    ]
    asked = states.lookups(facts)
    assert (asked.locks, asked.temp_keys) == ([7, 8, 9], [(7, "a"), (7, "b")])
    assert asked.lock_uuids == [default_lock_uuid(8)]
    assert asked.event_ids == [old, facts[-1].event_id]
    assert states.unknown_locks([9, 7, 9]) == FactLookups([9, 7], [], [], [])
    states.record(used_event(7, temp_key="a", event_id=old))
    again = states.lookups(facts[:3])
    assert again == FactLookups([], [(7, "b")], [], [])
    assert states.unknown_locks([9, 7]) == FactLookups([9], [], [], [])


@pytest.mark.parametrize(
    "asked",
    [
        FactLookups([7], [], [], []),
        FactLookups([], [(7, "a")], [], []),
        FactLookups([], [], [LOCK_UUID], []),
        FactLookups([], [], [], [LOCK_UUID]),
    ],
)
def test_whatever_is_missing_makes_a_look_up(asked: FactLookups) -> None:
    assert asked
    assert not FactLookups([], [], [], [])


def test_what_the_read_model_answered_may_be_forgotten_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LOCKS_KEPT", "TEMP_KEYS_KEPT", "EVENT_IDS_KEPT"):
        monkeypatch.setattr(lock_states, name, 0)
    states = LockStates(newest_forgotten_ms=-1)
    fact, created = temp_key_used(event_id=uuid7(5)), lock_created()
    known = Known(
        1,
        Position(),
        {7: LockRow(7, LOCK_UUID, "acme", 4, TIME)},
        {(7, "key-1"): 3},
        {fact.event_id},
        {LOCK_UUID: 7},
    )
    states.learn(states.lookups([fact, created]), known)
    assert states.lock(7) == LockState(LOCK_UUID, "acme", 4)
    assert states.uuid_owner(LOCK_UUID) == 7
    states.forget()
    assert states.lock(7) is None
    assert states.uuid_owner(LOCK_UUID) is None
    assert states.used(7, "key-1") == 0
    assert states.lookups([fact]) == FactLookups([7], [(7, "key-1")], [fact.event_id], [])


def test_who_has_a_uuid_is_not_unlearned_from_an_older_answer() -> None:
    states = LockStates(-1)
    states.begin_batch()
    states.record(created_event())
    states.learn(
        FactLookups([], [], [], [LOCK_UUID]),
        msgspec.structs.replace(NOTHING, uuid_owners={LOCK_UUID: 9, UUID(int=1): 10}),
    )
    assert (states.uuid_owner(LOCK_UUID), states.uuid_owner(UUID(int=1))) == (7, 10)


def test_a_temp_key_that_the_read_model_does_not_know_was_never_used() -> None:
    states = LockStates(-1)
    states.learn(states.lookups([temp_key_used()]), NOTHING)
    assert states.used(7, "key-1") == 0
    assert states.lookups([temp_key_used()]).temp_keys == []


def test_all_partitions_of_a_process_are_asked_for_the_owner_of_a_uuid() -> None:
    one, other, uuids = LockStates(-1), LockStates(-1), LockUuids()
    assert uuids.owner(LOCK_UUID) is None
    uuids.follow(0, one)
    uuids.follow(1, other)
    assert uuids.owner(LOCK_UUID) is None
    other.record(created_event(8))
    assert uuids.owner(LOCK_UUID) == 8
    uuids.follow(1, LockStates(-1))
    assert uuids.owner(LOCK_UUID) is None


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
