"""A log reader reads a stretch of the log: from an offset to an end that was seen beforehand."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

from eventlog.clients.fetcher import Fetcher
from eventlog.kafka import READER_FETCH_BYTES, READER_FETCH_WAIT_MS, Kafka
from eventlog.kafka_errors import errors, kafka_errors, ours
from eventlog.records import Record, TopicPartition
from runtime.errors import KafkaUnavailable, PositionLost

STALL_S = 10.0
_POLL_S = 0.05
_AT_ONCE = 5000
FEW_AT_ONCE = 500
"""For whoever holds stretches of many topics side by side."""


class LogReader:
    """Reads committed records, one stretch at a time. The next of them are fetched while the caller
    works on the last."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        kafka: Kafka,
        fetch_bytes: int = READER_FETCH_BYTES,
        fetch_wait_ms: int = READER_FETCH_WAIT_MS,
    ) -> AsyncIterator["LogReader"]:
        """Connects. ``fetch_bytes``: of each partition, at once; ``fetch_wait_ms``: see
        ``Kafka.fetcher``; less for one of many readers, and for one that reads many short
        stretches.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        together = max(fetch_bytes, READER_FETCH_BYTES)
        client = kafka.fetcher((), together, fetch_wait_ms, partition_bytes=fetch_bytes)
        async with client as fetcher:
            yield cls(fetcher)

    async def read(
        self,
        topic: str,
        begin: Mapping[int, int],
        end: Mapping[int, int],
        at_once: int = _AT_ONCE,
    ) -> AsyncGenerator[list[Record], None]:
        """Yields the committed records of ``[begin, end)`` of each partition, in order within a
        partition. Ends by position and not by count: transaction markers occupy offsets.

        Raises:
            KafkaUnavailable: no progress for 10 s (an open transaction hides what follows it).
            PositionLost: retention has deleted a record that was to be read.
        """
        async with aclosing(self._read(topic, begin, end, at_once)) as batches:
            async for batch in batches:
                yield batch

    async def _read(
        self,
        topic: str,
        begin: Mapping[int, int],
        end: Mapping[int, int],
        at_once: int,
        first: bool = False,
    ) -> AsyncGenerator[list[Record], None]:
        """Yields what was fetched. ``first``: of each partition only what comes first."""
        left = {TopicPartition(topic, p): end[p] for p in begin if begin[p] < end[p]}
        fetcher = self._fetcher
        for tp in fetcher.followed():
            fetcher.leave(tp)
        for tp in left:
            fetcher.follow(tp, begin[tp.partition])
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STALL_S
        while left:
            found: list[list[Record]] = []
            with kafka_errors(f"reading {topic}"):
                taken = await fetcher.fetch(_POLL_S, at_once)
            for entry in taken:
                batch, stop_at = entry.records, left[entry.tp]
                if batch and batch[-1].offset >= stop_at:
                    batch = [record for record in batch if record.offset < stop_at]
                if batch:
                    found.append(batch)
                if entry.next_offset >= stop_at or (first and batch):
                    del left[entry.tp]
                    fetcher.leave(entry.tp)
            if left:
                fetcher.request()
            for batch in found:
                yield batch
            for entry in taken:
                if isinstance(entry.error, errors.OffsetOutOfRangeError):
                    raise PositionLost(
                        f"{topic}: retention has deleted records that were still to be read"
                    ) from entry.error
                if entry.error is not None:
                    raise ours(entry.error, f"reading {topic}") from entry.error
            if found:
                # Later than the caller took: its own slowness is no stall of Kafka's.
                deadline = loop.time() + STALL_S
                # What is buffered comes without a turn of the loop, which fetches need.
                await asyncio.sleep(0)
            elif loop.time() > deadline:
                behind = {tp.partition: left[tp] for tp in left}
                raise KafkaUnavailable(f"{topic}: no progress for {STALL_S:.0f} s towards {behind}")

    async def firsts(
        self, topic: str, begin: Mapping[int, int], end: Mapping[int, int]
    ) -> dict[int, Record]:
        """Returns the first committed record of ``[begin, end)`` of each partition that has one,
        asked of all at once.

        Raises:
            KafkaUnavailable: as ``read``.
            PositionLost: as ``read``.
        """
        async with aclosing(self._read(topic, begin, end, FEW_AT_ONCE, first=True)) as batches:
            return {batch[0].partition: batch[0] async for batch in batches}

    async def last(self, topic: str, partition: int, end: int, beginning: int) -> Record | None:
        """Returns the last committed record before ``end``, or None if there is none since
        ``beginning``.

        Looks back in growing steps, since markers and aborted records occupy offsets too.
        """
        step = 8
        while True:
            begin = max(beginning, end - step)
            found: Record | None = None
            async for records in self.read(topic, {partition: begin}, {partition: end}):
                found = records[-1]
            if found is not None or begin <= beginning:
                return found
            step *= 16
