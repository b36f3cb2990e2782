"""Finds the first or the last committed record of many stretches at once, of whatever topics."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice

from eventlog.clients.fetcher import Fetcher
from eventlog.kafka import Kafka
from eventlog.kafka_errors import errors, kafka_errors, ours
from eventlog.records import Record, TopicPartition
from runtime.errors import KafkaUnavailable

AT_ONCE = 200
"""Partitions that are looked into side by side."""
PARTITION_BYTES = 64 * 1024
FETCH_BYTES = 1024 * 1024
WAIT_MS = 20
"""Where there is no record, nobody waits for one."""
STALL_S = 10.0
_POLL_S = 0.05
_RECORDS = 500
FIRST_STEP = 4
"""A record and the marker behind it, twice: so far back the last record is looked for first."""
NEXT_STEPS = 16
"""… and then so many times further."""

Stretches = Mapping[TopicPartition, tuple[int, int]]
"""From which offset to which end each partition is looked into."""
Found = dict[TopicPartition, Record]


class SingleRecords:
    """Looks for records. A partition without one in its stretch is missing in what is found. All
    questions raise ``KafkaUnavailable`` if there is no progress for 10 s, or if retention has
    passed the beginning of a stretch meanwhile."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    @classmethod
    @asynccontextmanager
    async def open(cls, kafka: Kafka) -> AsyncIterator["SingleRecords"]:
        """Connects.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        client = kafka.fetcher((), FETCH_BYTES, WAIT_MS, partition_bytes=PARTITION_BYTES)
        async with client as fetcher:
            yield cls(fetcher)

    async def firsts(self, stretches: Stretches) -> Found:
        """Returns the first committed record of each stretch."""
        found: Found = {}
        for some in _portions(stretches):
            found |= await self._look(some, first=True)
        return found

    async def lasts(self, stretches: Stretches) -> Found:
        """Returns the last committed record of each stretch. Looks back in growing steps, since
        markers and aborted records take offsets too."""
        found: Found = {}
        for some in _portions(stretches):
            left, step = dict(some), FIRST_STEP
            while left:
                near = {tp: (max(begin, end - step), end) for tp, (begin, end) in left.items()}
                found |= await self._look(near, first=False)
                left = {
                    tp: (begin, near[tp][0])
                    for tp, (begin, _) in left.items()
                    if tp not in found and near[tp][0] > begin
                }
                step *= NEXT_STEPS
        return found

    async def _look(self, stretches: Stretches, *, first: bool) -> Found:
        fetcher, loop = self._fetcher, asyncio.get_running_loop()
        left = {tp: end for tp, (begin, end) in stretches.items() if begin < end}
        for tp in fetcher.followed():
            fetcher.leave(tp)
        for tp in left:
            fetcher.follow(tp, stretches[tp][0])
        found: Found = {}
        deadline = loop.time() + STALL_S
        while left:
            with kafka_errors("looking for records"):
                taken = await fetcher.fetch(_POLL_S, _RECORDS)
            for entry in taken:
                tp, end = entry.tp, left[entry.tp]
                records = [record for record in entry.records if record.offset < end]
                if records:
                    found[tp] = records[0] if first else records[-1]
                if isinstance(entry.error, errors.OffsetOutOfRangeError):
                    raise KafkaUnavailable(f"{tp.topic}: retention went on while it was read")
                if entry.error is not None:
                    raise ours(entry.error, f"reading {tp.topic}") from entry.error
                if entry.next_offset >= end or (first and records):
                    del left[tp]
                    fetcher.leave(tp)
            if taken:
                deadline = loop.time() + STALL_S
            elif loop.time() > deadline:
                topics = sorted({tp.topic for tp in left})
                raise KafkaUnavailable(f"{', '.join(topics)}: no progress for {STALL_S:.0f} s")
        return found


def _portions(stretches: Stretches) -> Iterator[dict[TopicPartition, tuple[int, int]]]:
    entries = iter(stretches.items())
    while some := dict(islice(entries, AT_ONCE)):
        yield some
