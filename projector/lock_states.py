"""Keeps what the projector remembers of one partition: a bounded cache over the read model.

An entry may be forgotten only once the read model holds it. Event ids need no look-up in the
common case: a UUIDv7 made after every id that was forgotten can't be one of them, whatever the
clocks did, because the comparison is between the times inside ids.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from projector.decisions import LockState
from read_model.rows import Known
from schemas.lock_events import Event, LockCreatedEvent, TempKeyUsedEvent
from schemas.lock_facts import Fact, LockCreated, TempKeyUsed
from schemas.primitives import id_time_ms

LOCKS_KEPT = 10_000
TEMP_KEYS_KEPT = 10_000
EVENT_IDS_KEPT = 5_000

K = TypeVar("K")
V = TypeVar("V")


class FactLookups(msgspec.Struct, frozen=True):
    """Names what has to be asked of the read model before a batch can be decided."""

    locks: list[int]
    temp_keys: list[tuple[int, str]]
    event_ids: list[UUID]
    lock_uuids: list[UUID]

    def __bool__(self) -> bool:
        return bool(self.locks or self.temp_keys or self.event_ids or self.lock_uuids)


class RecentlyUsed(Generic[K, V]):
    """Keeps values in order of last use, each with the batch that last changed it."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, batch: int) -> None:
        self._entries[key] = (value, batch)
        self._entries.move_to_end(key)

    def forget(self, folded_batch: int) -> list[K]:
        """Forgets the oldest beyond what is kept, as far as ``folded_batch`` allows."""
        surplus = len(self._entries) - self._kept
        if surplus <= 0:
            return []
        forgotten: list[K] = []
        for key, (_, batch) in self._entries.items():
            if len(forgotten) == surplus:
                break
            if batch <= folded_batch:
                forgotten.append(key)
        for key in forgotten:
            del self._entries[key]
        return forgotten


class LockStates:
    """Remembers one partition's locks, temp keys and event ids. ``newest_forgotten_ms``: the
    largest time inside a UUIDv7 event id that the read model holds and this cache doesn't."""

    def __init__(self, newest_forgotten_ms: int) -> None:
        self._locks: RecentlyUsed[int, LockState | None] = RecentlyUsed(LOCKS_KEPT)
        self._uuids: RecentlyUsed[UUID, int] = RecentlyUsed(LOCKS_KEPT)
        self._used: RecentlyUsed[tuple[int, str], int] = RecentlyUsed(TEMP_KEYS_KEPT)
        self._ids: RecentlyUsed[UUID, None] = RecentlyUsed(EVENT_IDS_KEPT)
        self._newest_forgotten_ms = newest_forgotten_ms
        self._batch = 0
        self._folded_batch = 0

    def begin_batch(self) -> int:
        """Returns a number for the changes that follow, to be given to ``folded``."""
        self._batch += 1
        return self._batch

    def lookups(self, facts: Sequence[Fact]) -> FactLookups:
        """Returns what these facts need and nothing here remembers."""
        locks: dict[int, None] = {}
        temp_keys: dict[tuple[int, str], None] = {}
        event_ids: list[UUID] = []
        lock_uuids: dict[UUID, None] = {}
        for fact in facts:
            if fact.lock_id not in self._locks:
                locks[fact.lock_id] = None
            if isinstance(fact, TempKeyUsed):
                use = (fact.lock_id, fact.data.temp_key_uuid)
                if use not in self._used:
                    temp_keys[use] = None
            # That nobody has it is never remembered: another partition may give it away any time.
            if isinstance(fact, LockCreated) and fact.data.lock_uuid not in self._uuids:
                lock_uuids[fact.data.lock_uuid] = None
            if fact.event_id not in self._ids and self._may_be_forgotten(fact.event_id):
                event_ids.append(fact.event_id)
        return FactLookups(list(locks), list(temp_keys), event_ids, list(lock_uuids))

    def _may_be_forgotten(self, event_id: UUID) -> bool:
        return event_id.version != 7 or id_time_ms(event_id) <= self._newest_forgotten_ms

    def unknown_locks(self, lock_ids: Iterable[int]) -> FactLookups:
        """Returns those of the locks that aren't remembered."""
        return FactLookups([n for n in dict.fromkeys(lock_ids) if n not in self._locks], [], [], [])

    def learn(self, lookups: FactLookups, known: Known) -> None:
        """Takes in the read model's answer. What is remembered already is newer, and stays."""
        for lock_id in lookups.locks:
            row = known.locks.get(lock_id)
            state = None if row is None else LockState(row.lock_uuid, row.org_id, row.version)
            self._locks.put(lock_id, state, 0)
        for use in lookups.temp_keys:
            self._used.put(use, known.used_counts.get(use, 0), 0)
        for event_id in known.event_ids:
            self._ids.put(event_id, None, 0)
        for lock_uuid, lock_id in known.uuid_owners.items():
            if lock_uuid not in self._uuids:
                self._uuids.put(lock_uuid, lock_id, 0)

    def lock(self, lock_id: int) -> LockState | None:
        return self._locks.get(lock_id)

    def uuid_owner(self, lock_uuid: UUID) -> int | None:
        """Returns the lock that has this UUID, as far as it is remembered."""
        return self._uuids.get(lock_uuid)

    def used(self, lock_id: int, temp_key_uuid: str) -> int:
        return self._used.get((lock_id, temp_key_uuid)) or 0

    def seen(self, event_id: UUID) -> bool:
        return event_id in self._ids

    def record(self, event: Event) -> None:
        """Remembers the state after ``event``."""
        state = LockState(event.aggregate_id, event.org_id, event.version)
        self._locks.put(event.lock_id, state, self._batch)
        self._ids.put(event.event_id, None, self._batch)
        if isinstance(event, LockCreatedEvent):
            self._uuids.put(event.aggregate_id, event.lock_id, self._batch)
        if isinstance(event, TempKeyUsedEvent):
            use = (event.lock_id, event.data.temp_key_uuid)
            self._used.put(use, event.data.used_count, self._batch)

    def folded(self, batch: int) -> None:
        """Notes that the read model holds all changes up to ``batch``: they may be forgotten,
        later."""
        self._folded_batch = max(self._folded_batch, batch)

    def forget(self) -> None:
        """Forgets the oldest entries that the read model holds. Only between batches: what a batch
        found remembered when it was looked at must still be there when it is decided."""
        self._locks.forget(self._folded_batch)
        self._uuids.forget(self._folded_batch)
        self._used.forget(self._folded_batch)
        for event_id in self._ids.forget(self._folded_batch):
            self._newest_forgotten_ms = max(self._newest_forgotten_ms, id_time_ms(event_id))
