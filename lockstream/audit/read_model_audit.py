"""Is the read model the fold of the stream, as far as it has come?"""

from lockstream.audit.stream_checks import ReadEvent
from lockstream.audit.violations import Violation
from lockstream.read_model.store import ReadModel

CHUNK = 2_000
"""Events, and locks, that the model is asked for at once."""


class ReadModelAudit:
    """Compares, chunk by chunk, what the stream holds with what the model says. The model may be
    behind the stream, or move on meanwhile; it may not differ."""

    def __init__(self, read_model: ReadModel, topic: str, partition: int, folded_to: int) -> None:
        self._read_model = read_model
        self._topic = topic
        self._partition = partition
        self._folded_to = folded_to
        self._chunk: list[ReadEvent] = []
        self._last: dict[int, ReadEvent] = {}

    def add(self, read: ReadEvent) -> None:
        if read.offset < self._folded_to:
            self._chunk.append(read)
            self._last[read.event.lock_id] = read

    @property
    def is_due(self) -> bool:
        return len(self._chunk) >= CHUNK

    async def check_events(self) -> list[Violation]:
        """
        Raises:
            ReadModelUnavailable: the database can't be asked.
        """
        chunk, self._chunk = self._chunk, []
        pairs = [(read.event.lock_id, read.event.version) for read in chunk]
        stored = await self._read_model.event_values(pairs)
        return [
            self._differs(read, "it does not hold this event as the stream does")
            for read, pair in zip(chunk, pairs, strict=True)
            if stored.get(pair) != read.value
        ]

    async def check_locks(self) -> list[Violation]:
        """
        Raises:
            ReadModelUnavailable: the database can't be asked.
        """
        found: list[Violation] = []
        lock_ids = list(self._last)
        for begin in range(0, len(lock_ids), CHUNK):
            chunk = lock_ids[begin : begin + CHUNK]
            rows = (await self._read_model.known(self._partition, chunk, [], [])).locks
            for lock_id in chunk:
                read, row = self._last[lock_id], rows.get(lock_id)
                event = read.event
                if row is None or row.version < event.version:
                    version = row.version if row is not None else 0
                    detail = f"it has lock {lock_id} at version {version}, not {event.version}"
                    found.append(self._differs(read, detail))
                elif row.version == event.version and (row.org_id, row.lock_uuid) != (
                    event.org_id,
                    event.aggregate_id,
                ):
                    found.append(self._differs(read, f"it has another lock {lock_id}"))
        return found

    def _differs(self, read: ReadEvent, detail: str) -> Violation:
        return Violation(
            "read-model-differs", self._topic, self._partition, read.offset, f"read model: {detail}"
        )
