"""Knows which lock has which UUID, across the partitions of a process."""

from uuid import UUID

from projector.lock_states import LockStates


class LockUuids:
    """Knows what other partitions here have decided and the read model may not hold yet. Each of
    them bounds it by what it remembers, and begins with nothing when it restores."""

    def __init__(self) -> None:
        self._states: dict[int, LockStates] = {}

    def follow(self, partition: int, states: LockStates) -> None:
        """Takes ``states`` for what the partition remembers from now on."""
        self._states[partition] = states

    def owner(self, lock_uuid: UUID) -> int | None:
        for states in self._states.values():
            lock_id = states.uuid_owner(lock_uuid)
            if lock_id is not None:
                return lock_id
        return None
