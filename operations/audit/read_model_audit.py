"""Checks that the read model is the fold of the stream, as far as it has come."""

import sys
from collections import Counter

import msgspec

from operations.audit.stream_checks import ReadEvent
from operations.audit.violations import Violation
from read_model.rows import Position
from read_model.store import ReadModel
from read_model.tables import LOCK_EVENTS
from schemas.lock_events import TempKeyUsedEvent

CHUNK = 2_000
"""Events, and locks, that the model is asked for at once."""


class _Last(msgspec.Struct, frozen=True, gc=False):
    """Keeps little of each lock's last event: there may be a million locks."""

    offset: int
    version: int
    org_id: str
    lock_uuid: bytes


class ReadModelAudit:
    """Compares the stream with the read model, chunk by chunk. The model may be behind the stream,
    or move on meanwhile; it may not differ."""

    def __init__(self, read_model: ReadModel, topic: str, partition: int, folded_to: int) -> None:
        self._read_model = read_model
        self._topic = topic
        self._partition = partition
        self._folded_to = folded_to
        self._chunk: list[ReadEvent] = []
        self._last: dict[int, _Last] = {}
        self._uses: dict[int, int] = {}

    def add(self, read: ReadEvent) -> None:
        if read.offset < self._folded_to:
            self._chunk.append(read)

    @property
    def is_due(self) -> bool:
        return len(self._chunk) >= CHUNK

    async def check_events(self) -> list[Violation]:
        """Compares the events of the chunk, and their temp keys, with the model.

        Raises:
            ReadModelUnavailable: the database can't be asked.
        """
        chunk, self._chunk = self._chunk, []
        self._keep_last(chunk)
        pairs = [(read.event.lock_id, read.event.version) for read in chunk]
        stored = await self._read_model.event_values(pairs)
        found = [
            self._differs(read.offset, "it does not hold this event as the stream does")
            for read, pair in zip(chunk, pairs, strict=True)
            if stored.get(pair) != read.value
        ]
        return await self._unless_emptied(found + await self._check_uses(chunk))

    def _keep_last(self, chunk: list[ReadEvent]) -> None:
        for lock_id, read in {read.event.lock_id: read for read in chunk}.items():
            event = read.event
            org_id, lock_uuid = sys.intern(event.org_id), event.aggregate_id.bytes
            self._last[lock_id] = _Last(read.offset, event.version, org_id, lock_uuid)
        used = [read.event.lock_id for read in chunk if isinstance(read.event, TempKeyUsedEvent)]
        for lock_id, count in Counter(used).items():
            self._uses[lock_id] = self._uses.get(lock_id, 0) + count

    async def _unless_emptied(self, found: list[Violation]) -> list[Violation]:
        """Drops what was found in a model that has gone back meanwhile: it is being rebuilt."""
        if not found:
            return found
        positions = await self._read_model.positions(LOCK_EVENTS)
        if positions.get(self._partition, Position()).next_offset < self._folded_to:
            return []
        return found

    async def _check_uses(self, chunk: list[ReadEvent]) -> list[Violation]:
        """Finds temp keys that the model counts fewer uses of than their last event in this chunk
        says. More uses may have come since; the sum for each lock shows those that are too many."""
        last: dict[tuple[int, str], tuple[ReadEvent, int]] = {}
        for read in chunk:
            event = read.event
            if isinstance(event, TempKeyUsedEvent):
                use = (event.lock_id, event.data.temp_key_uuid)
                last[use] = (read, event.data.used_count)
        stored = (await self._read_model.known(self._partition, [], list(last), [], [])).used_counts
        return [
            self._differs(
                read.offset,
                f"it has {stored.get(use, 0)} uses of temp key {use[1]} on lock {use[0]}, "
                f"not {count}",
            )
            for use, (read, count) in last.items()
            if stored.get(use, 0) < count
        ]

    async def check_locks(self) -> list[Violation]:
        """Compares each lock's row and its sum of uses with its events.

        Raises:
            ReadModelUnavailable: the database can't be asked.
        """
        found: list[Violation] = []
        lock_ids = list(self._last)
        for begin in range(0, len(lock_ids), CHUNK):
            chunk = lock_ids[begin : begin + CHUNK]
            rows, uses = await self._read_model.locks_and_uses(chunk)
            for lock_id in chunk:
                last, row = self._last[lock_id], rows.get(lock_id)
                if row is None or row.version < last.version:
                    version = row.version if row is not None else 0
                    detail = f"it has lock {lock_id} at version {version}, not {last.version}"
                    found.append(self._differs(last.offset, detail))
                elif row.version == last.version and (
                    (row.org_id, row.lock_uuid.bytes) != (last.org_id, last.lock_uuid)
                ):
                    found.append(self._differs(last.offset, f"it has another lock {lock_id}"))
                elif row.version == last.version and (
                    uses.get(lock_id, 0) != self._uses.get(lock_id, 0)
                ):
                    detail = (
                        f"it has {uses.get(lock_id, 0)} uses of lock {lock_id}, "
                        f"not {self._uses.get(lock_id, 0)}"
                    )
                    found.append(self._differs(last.offset, detail))
        return await self._unless_emptied(found)

    def _differs(self, offset: int, detail: str) -> Violation:
        return Violation(
            "read-model-differs", self._topic, self._partition, offset, f"read model: {detail}"
        )
