"""Which lock has which UUID, across the partitions of a process."""

from uuid import UUID

from projector.lock_states import LockStates


class LockUuids:
    """Knows what other partitions here have decided and the read model may not hold yet. Bounded by
    what each of them remembers; a partition that restores begins anew."""

    def __init__(self) -> None:
        self._states: dict[int, LockStates] = {}

    def follow(self, partition: int, states: LockStates) -> None:
        """From now on this is what the partition remembers."""
        self._states[partition] = states

    def owner(self, lock_uuid: UUID) -> int | None:
        for states in self._states.values():
            lock_id = states.uuid_owner(lock_uuid)
            if lock_id is not None:
                return lock_id
        return None
