"""Finds repeated ids among millions, in 8 bytes each: event ids, and UUIDs of locks. A 64-bit hash
of every id is kept. Hashes that occur twice are only suspects, whose ids are compared in a second
look at the log."""

from array import array
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc


def hash_id(event_id: str) -> int:
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little")


SLICE_BITS = 6
"""Counting needs a hash table of what it counts: one slice of the hashes at a time."""


class EventIds:
    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, event_id: str) -> None:
        self._hashes.append(hash_id(event_id))

    def __len__(self) -> int:
        return len(self._hashes)

    def suspects(self) -> set[int]:
        """Returns the hashes that were added more than once."""
        hashes = self._as_arrow()
        slices = pc.cast(
            pc.shift_right(hashes, pa.scalar(64 - SLICE_BITS, pa.uint64())), pa.uint8()
        )
        found: set[int] = set()
        for number in range(1 << SLICE_BITS):
            counts = pc.value_counts(hashes.filter(pc.equal(slices, number)))
            repeated = counts.filter(pc.greater(counts.field("counts"), 1))
            found.update(repeated.field("values").to_pylist())
        return found

    def missing(self, event_ids: list[str]) -> list[str]:
        """Returns those of ``event_ids`` that were certainly never added."""
        wanted = {event_id: hash_id(event_id) for event_id in event_ids}
        hashes = self._as_arrow()
        wanted_hashes = pa.array(list(wanted.values()), pa.uint64())
        present = set(hashes.filter(pc.is_in(hashes, value_set=wanted_hashes)).to_pylist())
        return [event_id for event_id in event_ids if wanted[event_id] not in present]

    def _as_arrow(self) -> pa.Array:
        return pa.Array.from_buffers(
            pa.uint64(), len(self._hashes), [None, pa.py_buffer(self._hashes)]
        )
