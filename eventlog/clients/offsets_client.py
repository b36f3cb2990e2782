"""An offsets client asks where partitions begin and end."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from eventlog.clients.client import REQUEST_TIMEOUT_S, Client
from eventlog.kafka_errors import kafka_errors
from eventlog.records import TopicPartition
from runtime.waiting import within

AT_ONCE = 200
"""Partitions in one request: whoever encodes it does nothing else meanwhile."""

Question = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]


class AsksOffsets(Client):
    """Wraps a consumer without a group; its isolation level decides what an end is. Questions about
    offsets raise ``KafkaUnavailable`` if no answer comes in time, and ``KafkaRefused`` if the topic
    is not there or may not be read."""

    async def beginnings(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Returns the offset of the first record that retention has left in each partition."""
        return await self._offsets(self._client.beginning_offsets, topic, partitions)

    async def known(self, topics: Collection[str]) -> set[str]:
        """Returns those of the topics that are there. Whoever asks about many partitions asks this
        first: their metadata come by one request then."""
        with kafka_errors("looking for topics"):
            return await within(self.connections.learn(topics), REQUEST_TIMEOUT_S)

    async def beginnings_of(
        self, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Returns where each of these partitions begins, of whatever topics."""
        return await self._of_many(self._client.beginning_offsets, partitions)

    async def ends_of(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Returns where each of these partitions ends, of whatever topics."""
        return await self._of_many(self._client.end_offsets, partitions)

    async def _of_many(
        self, question: Question, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        found: dict[TopicPartition, int] = {}
        with kafka_errors("asking for the offsets of many partitions"):
            for first in range(0, len(partitions), AT_ONCE):
                some = partitions[first : first + AT_ONCE]
                found |= await within(question(some), REQUEST_TIMEOUT_S)
        return found

    async def _offsets(
        self, question: Question, topic: str, partitions: Sequence[int]
    ) -> dict[int, int]:
        wanted = [TopicPartition(topic, p) for p in partitions]
        with kafka_errors(f"asking for the offsets of {topic}"):
            if wanted:
                # aiokafka would wait for it to appear, and then say only that no answer came.
                await within(self.connections.require_topics([topic]), REQUEST_TIMEOUT_S)
            answer = await within(question(wanted), REQUEST_TIMEOUT_S)
        return {tp.partition: offset for tp, offset in answer.items()}


class OffsetsClient(AsksOffsets):
    """Asks for offsets and reads no records. It sees uncommitted ones too, so that an end is the
    high watermark."""

    async def high_watermarks(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Returns the offset after the last record of each partition, committed or not."""
        return await self._offsets(self._client.end_offsets, topic, partitions)

    async def at_time(self, topic: str, partitions: Sequence[int], time_ms: int) -> dict[int, int]:
        """Returns the first offset of each partition whose record is of ``time_ms`` or later, or
        the end."""
        ends = await self.high_watermarks(topic, partitions)
        wanted = {TopicPartition(topic, p): time_ms for p in partitions}
        with kafka_errors(f"asking for the offsets of {topic}"):
            found: Mapping[TopicPartition, Any] = await within(
                self._client.offsets_for_times(wanted), REQUEST_TIMEOUT_S
            )
        return {
            tp.partition: ends[tp.partition] if entry is None else entry.offset
            for tp, entry in found.items()
        }


class StableOffsetsClient(AsksOffsets):
    """Asks for offsets as whoever reads committed records sees them: an end is the last stable
    offset."""

    async def stable_ends(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Returns the last stable offset of each partition: all before it is decided, committed or
        aborted."""
        return await self._offsets(self._client.end_offsets, topic, partitions)
