"""Finding repeated event ids among millions, in 8 bytes each.

Of every id a 64-bit hash is kept; hashes that occur twice are only suspects, whose ids a second
look at the log has to compare.
"""

from array import array
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc


def hash_id(event_id: str) -> int:
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little")


class EventIds:
    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, event_id: str) -> None:
        self._hashes.append(hash_id(event_id))

    def __len__(self) -> int:
        return len(self._hashes)

    def suspects(self) -> set[int]:
        """Hashes that were added more than once."""
        counts = pc.value_counts(self._as_arrow())
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        return set(repeated.field("values").to_pylist())

    def missing(self, event_ids: list[str]) -> list[str]:
        """Those of ``event_ids`` that were certainly never added."""
        wanted = pa.array([hash_id(event_id) for event_id in event_ids], pa.uint64())
        known = pc.is_in(wanted, value_set=self._as_arrow()).to_pylist()
        return [
            event_id for event_id, is_known in zip(event_ids, known, strict=True) if not is_known
        ]

    def _as_arrow(self) -> pa.Array:
        return pa.Array.from_buffers(
            pa.uint64(), len(self._hashes), [None, pa.py_buffer(self._hashes)]
        )
