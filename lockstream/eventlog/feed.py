"""The bounded queue between the one fetch loop and each partition's worker."""

import asyncio
from collections import deque
from collections.abc import Sequence

from lockstream.eventlog.kafka import Record

FULL_RECORDS = 5_000
FULL_BYTES = 8 * 1024 * 1024


class Feed:
    """Records of one partition, in order. Closed until its owner has restored its state: what is
    offered before then is dropped, since the owner will seek to where it wants to begin."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._open = False
        self._failure: Exception | None = None
        self._ended = False
        self._changed = asyncio.Event()

    def open(self) -> None:
        self._records.clear()
        self._bytes = 0
        self._failure = None
        self._open = True

    def close(self) -> None:
        self._open = False
        self._records.clear()
        self._bytes = 0

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def is_full(self) -> bool:
        return len(self._records) >= FULL_RECORDS or self._bytes >= FULL_BYTES

    @property
    def has_room(self) -> bool:
        """Well below full: worth fetching again."""
        return len(self._records) <= FULL_RECORDS // 4 and self._bytes <= FULL_BYTES // 4

    @property
    def oldest_ms(self) -> int | None:
        """When the next record to be taken was written."""
        return self._records[0].timestamp_ms if self._records else None

    def __len__(self) -> int:
        return len(self._records)

    def offer(self, records: Sequence[Record]) -> None:
        self._records.extend(records)
        self._bytes += sum(_size(record) for record in records)
        self._changed.set()

    def put_back(self, records: Sequence[Record]) -> None:
        """Records that were taken and not processed: they come first again."""
        self._records.extendleft(reversed(records))
        self._bytes += sum(_size(record) for record in records)

    def fail(self, error: Exception) -> None:
        """Makes the owner's next ``take`` raise ``error``."""
        self._failure = error
        self._changed.set()

    def end(self) -> None:
        """Makes ``take`` return None once, and from then on, whatever is still queued."""
        self._ended = True
        self._changed.set()

    @property
    def ended(self) -> bool:
        return self._ended

    async def wait_end(self, timeout_s: float | None = None) -> None:
        """Returns when the feed has ended or the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._ended:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    async def wait(self) -> int:
        """How many records are there to be taken, once there are any; 0 when the feed has ended."""
        while True:
            if self._ended:
                return 0
            if self._failure is not None:
                raise self._failure
            if self._records:
                return len(self._records)
            self._changed.clear()
            await self._changed.wait()

    async def take(self, max_records: int, max_bytes: int) -> list[Record] | None:
        """The next records, at least one; None when the feed has ended."""
        return self._next(max_records, max_bytes) if await self.wait() else None

    def _next(self, max_records: int, max_bytes: int) -> list[Record]:
        taken: list[Record] = []
        size = 0
        while self._records and len(taken) < max_records:
            size += _size(self._records[0])
            if taken and size > max_bytes:
                break
            taken.append(self._records.popleft())
            self._bytes -= _size(taken[-1])
        return taken


def _size(record: Record) -> int:
    return len(record.value or b"") + 200
