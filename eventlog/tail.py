"""A tail follows topics while the process lives, without a group: every replica sees all."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from eventlog.clients.fetched_partition import Taken
from eventlog.clients.fetcher import Fetcher
from eventlog.clients.offsets_client import OffsetsClient
from eventlog.kafka import Kafka
from eventlog.kafka_errors import errors, kafka_errors, ours
from eventlog.records import Record, TopicPartition
from runtime.errors import KafkaUnavailable, PositionLost
from runtime.waiting import is_cancelled

LOOK_AGAIN_S = 0.01
POLL_S = 0.1
"""How late the tail may learn that it is to stop."""

FIRST = -1
"""Stands for the offset of a partition's first record, wherever retention has left it."""

OnRecords = Callable[[str, Sequence[Record]], None]
"""Called with a topic and committed records of one of its partitions, in order. Must not raise."""


class Tail:
    """Follows topics. ``begin``: per topic and partition, the offset to begin at, or ``FIRST``."""

    def __init__(
        self, kafka: Kafka, begin: Mapping[str, Mapping[int, int]], on_records: OnRecords
    ) -> None:
        self._kafka = kafka
        self._begin = begin
        self._on_records = on_records
        self.caught_up = asyncio.Event()
        """Set once everything has been seen that was there when the tail began."""
        self._positions: dict[TopicPartition, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Follows until ``stop`` is set. Waits out a broker that goes away.

        Raises:
            KafkaUnavailable: the broker can't be reached at the start.
            KafkaRefused: a topic is not there, or may not be read.
            PositionLost: retention has deleted records that were still to be seen. Whoever follows
                can't go on: it would not know what it has missed. It ends, and begins anew.
        """
        async with self._kafka.fetcher(list(self._begin)) as fetcher:
            async with self._kafka.offsets_client() as client:
                ends, offsets = await self._ends(client), await self._offsets(client)
            for tp, offset in offsets.items():
                fetcher.follow(tp, offset)
                self._positions[tp] = offset
            while not stop.is_set() and not is_cancelled():
                if not self.caught_up.is_set():
                    self._check_caught_up(ends)
                await self._poll(fetcher)

    async def until(self, topic: str, partition: int, end: int, timeout_s: float) -> None:
        """Returns once everything before ``end`` has been seen.

        Raises:
            KafkaUnavailable: not in time.
        """
        tp = TopicPartition(topic, partition)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._positions.get(tp, -1) < end:
            if asyncio.get_running_loop().time() > deadline:
                raise KafkaUnavailable(
                    f"{topic}[{partition}] is not read up to {end} after {timeout_s:.0f} s"
                )
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _offsets(self, client: OffsetsClient) -> dict[TopicPartition, int]:
        """Returns where each partition begins."""
        found: dict[TopicPartition, int] = {}
        for topic, begin in self._begin.items():
            wanted = [p for p, offset in begin.items() if offset == FIRST]
            first = await client.beginnings(topic, wanted) if wanted else {}
            found |= {TopicPartition(topic, p): first.get(p, at) for p, at in begin.items()}
        return found

    async def _ends(self, client: OffsetsClient) -> dict[TopicPartition, int]:
        return {
            TopicPartition(topic, p): end
            for topic, offsets in self._begin.items()
            for p, end in (await client.high_watermarks(topic, list(offsets))).items()
        }

    def _check_caught_up(self, ends: Mapping[TopicPartition, int]) -> None:
        for tp, end in ends.items():
            if self._positions[tp] < end:
                return
        self.caught_up.set()

    async def _poll(self, fetcher: Fetcher) -> None:
        with kafka_errors("following the log"):
            found = await fetcher.fetch(POLL_S)
        # What comes next may come while this is looked at.
        fetcher.request()
        for taken in found:
            if taken.records:
                self._on_records(taken.tp.topic, taken.records)
            self._positions[taken.tp] = taken.next_offset
            if isinstance(taken.error, errors.OffsetOutOfRangeError):
                raise PositionLost(_lost(taken)) from taken.error
            if taken.error is not None:
                raise ours(taken.error, "following the log") from taken.error


def _lost(taken: Taken) -> str:
    return (
        f"{taken.tp.topic}[{taken.tp.partition}] from offset {taken.next_offset} was to be "
        "followed, and that is not there: retention has deleted it, or the topic was made anew"
    )
