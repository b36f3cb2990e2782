"""A feed is the bounded queue between the one fetch loop and a partition's worker."""

import asyncio
from collections import deque
from collections.abc import Sequence

from eventlog.records import Record
from eventlog.stage.budget import Share

FULL_BYTES = 8 * 1024 * 1024
IN_WORK_TIMES = 3
"""A record that is being processed, as a multiple of itself: what is decoded from it, what follows
from it, and the batch that goes to the broker."""


class Feed:
    """Holds records of one partition, in order. It is closed until its owner has restored its
    state: what is offered before then is dropped, since the owner will seek to where it wants to
    begin.

    ``memory``: where everything is held that was offered and is not done with. Bytes are those that
    a record really takes as an object, see ``memory_of``.
    """

    def __init__(self, memory: Share) -> None:
        self._memory = memory
        self._records: deque[Record] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._bytes_in_work = 0
        self._open = False
        self._failure: Exception | None = None
        self._ended = False
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """Begins a new attempt, to which the failure of the one before means nothing. What fails
        from now on will be raised, though the feed may not be open yet."""
        self._failure = None

    def open(self) -> None:
        self._clear()
        self._open = True

    def close(self) -> None:
        self._open = False
        self._clear()

    def _clear(self) -> None:
        self.done()
        self._records.clear()
        self._sizes.clear()
        self._memory.give_back(self._bytes)
        self._bytes = 0

    @property
    def is_open(self) -> bool:
        return self._open

    @property
    def is_full(self) -> bool:
        return self._bytes >= FULL_BYTES

    @property
    def has_room(self) -> bool:
        """Returns whether it is well below full: worth fetching again."""
        return self._bytes <= FULL_BYTES // 4

    @property
    def oldest_ms(self) -> int | None:
        """Returns when the next record to be taken was written."""
        return self._records[0].timestamp_ms if self._records else None

    def __len__(self) -> int:
        return len(self._records)

    def offer(self, records: Sequence[Record]) -> None:
        sizes = [memory_of(record) for record in records]
        self._records.extend(records)
        self._sizes.extend(sizes)
        self._bytes += sum(sizes)
        self._memory.take(sum(sizes))
        self._changed.set()

    def put_back(self, records: Sequence[Record]) -> None:
        """Takes back records that were not processed: they come first again."""
        sizes = [memory_of(record) for record in records]
        self._records.extendleft(reversed(records))
        self._sizes.extendleft(reversed(sizes))
        self._bytes += sum(sizes)
        self._change_work(-sum(sizes))
        self._memory.take(sum(sizes))

    def done(self) -> None:
        """Forgets whatever was taken and not put back."""
        self._change_work(-self._bytes_in_work)

    def _change_work(self, amount: int) -> None:
        self._bytes_in_work += amount
        if amount > 0:
            self._memory.take(amount * IN_WORK_TIMES)
        else:
            self._memory.give_back(-amount * IN_WORK_TIMES)

    def fail(self, error: Exception) -> None:
        """Makes the owner's next ``take`` raise ``error``."""
        self._failure = error
        self._changed.set()

    def end(self) -> None:
        """Makes ``take`` return None from now on, whatever is still queued."""
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
        """Returns how many records there are to be taken, once there are any; 0 if the feed has
        ended."""
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
        """Returns the next records, at least one; None if the feed has ended."""
        return self._next(max_records, max_bytes) if await self.wait() else None

    def _next(self, max_records: int, max_bytes: int) -> list[Record]:
        taken: list[Record] = []
        size = 0
        while self._records and len(taken) < max_records:
            if taken and size + self._sizes[0] > max_bytes:
                break
            size += self._sizes.popleft()
            taken.append(self._records.popleft())
        self._bytes -= size
        self._memory.give_back(size)
        self._change_work(size)
        return taken


RECORD_BYTES = 300
HEADER_BYTES = 140
"""What a record and one of its headers take as Python objects, beside their contents."""


def memory_of(record: Record) -> int:
    """Returns what the record takes while it is kept, in bytes."""
    size = RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += HEADER_BYTES + len(name) + len(value or b"")
    return size
