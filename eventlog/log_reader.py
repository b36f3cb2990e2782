"""A log reader reads a stretch of the log: from an offset to an end that was seen beforehand."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from eventlog.clients.reader import Reader
from eventlog.kafka import READER_FETCH_BYTES, READER_FETCH_WAIT_MS, Kafka
from eventlog.kafka_errors import errors, kafka_errors
from eventlog.records import FetchedRecord, Record, TopicPartition, to_record
from runtime.errors import KafkaUnavailable, PositionLost

STALL_S = 10.0
_POLL_MS = 50
_AT_ONCE = 5000
FEW_AT_ONCE = 500
"""aiokafka makes a dozen objects of each record. While few of them live, the garbage collector has
nothing to do: with all that was fetched, it took more than half of the time."""


class LogReader:
    """Reads committed records, one stretch at a time."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        kafka: Kafka,
        fetch_bytes: int = READER_FETCH_BYTES,
        fetch_wait_ms: int = READER_FETCH_WAIT_MS,
    ) -> AsyncIterator["LogReader"]:
        """Connects. ``fetch_bytes``, ``fetch_wait_ms``: see ``Kafka.reader``; less for one of many
        readers, and for one that reads many short stretches.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        async with kafka.reader(fetch_bytes, fetch_wait_ms) as reader:
            yield cls(reader)

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
                yield [to_record(record) for record in batch]

    async def fetch(
        self, topic: str, begin: Mapping[int, int], end: Mapping[int, int]
    ) -> AsyncIterator[Sequence[FetchedRecord]]:
        """Yields what ``read`` does, uncopied: the caller keeps no record beyond its batch.

        Raises:
            KafkaUnavailable: as ``read``.
            PositionLost: as ``read``.
        """
        async with aclosing(self._read(topic, begin, end, FEW_AT_ONCE)) as batches:
            async for batch in batches:
                yield batch

    async def _read(
        self,
        topic: str,
        begin: Mapping[int, int],
        end: Mapping[int, int],
        at_once: int,
        first: bool = False,
    ) -> AsyncGenerator[Sequence[FetchedRecord], None]:
        """Yields what was fetched. ``first``: of each partition only what comes first."""
        left = {TopicPartition(topic, p): end[p] for p in begin if begin[p] < end[p]}
        if not left:
            return
        reader = self._reader
        reader.assign({tp: begin[tp.partition] for tp in left})
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STALL_S
        while left:
            with kafka_errors(f"reading {topic}"):
                try:
                    batches = await reader.fetch(_POLL_MS, at_once)
                except errors.OffsetOutOfRangeError as error:
                    raise PositionLost(
                        f"{topic}: retention has deleted records that were still to be read"
                    ) from error
                positions = {tp: await reader.position(tp) for tp in left}
            for tp, batch in batches.items():
                stop_at = end[tp.partition]
                if batch[-1].offset >= stop_at:
                    batch = [record for record in batch if record.offset < stop_at]
                if batch:
                    yield batch
                    if first:
                        positions[tp] = stop_at
            for tp, position in positions.items():
                if position >= left[tp]:
                    del left[tp]
                    reader.pause(tp)
            if batches:
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
            return {batch[0].partition: to_record(batch[0]) async for batch in batches}

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
