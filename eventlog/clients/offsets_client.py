"""Where partitions begin and end."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from eventlog.clients.client import REQUEST_TIMEOUT_S, Client
from eventlog.kafka_errors import kafka_errors
from eventlog.records import TopicPartition
from runtime.process import within


class AsksOffsets(Client):
    """Wraps a consumer without a group; its isolation level decides what an end is."""

    async def beginnings(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Returns the offset of the first record that retention has left in each partition.

        Raises:
            KafkaRefused: the topic is not there, or may not be read.
            KafkaUnavailable: no answer in time.
        """
        return await self._offsets(self._client.beginning_offsets, topic, partitions)

    async def _ends(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        return await self._offsets(self._client.end_offsets, topic, partitions)

    async def _offsets(
        self, question: Any, topic: str, partitions: Sequence[int]
    ) -> dict[int, int]:
        wanted = [TopicPartition(topic, p) for p in partitions]
        with kafka_errors(f"asking for the offsets of {topic}"):
            if wanted:
                # aiokafka would wait for it to appear, and then say only that no answer came.
                await within(self.connections.require_topics([topic]), REQUEST_TIMEOUT_S)
            asked: Awaitable[Mapping[TopicPartition, int]] = question(wanted)
            answer = await within(asked, REQUEST_TIMEOUT_S)
        return {tp.partition: offset for tp, offset in answer.items()}


class OffsetsClient(AsksOffsets):
    """Asks for offsets only: read_uncommitted, so an end is the high watermark."""

    async def high_watermarks(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Returns the offset after the last record of each partition, committed or not.

        Raises:
            KafkaRefused: the topic is not there, or may not be read.
            KafkaUnavailable: no answer in time.
        """
        return await self._ends(topic, partitions)

    async def at_time(self, topic: str, partitions: Sequence[int], time_ms: int) -> dict[int, int]:
        """Returns the first offset of each partition whose record is of ``time_ms`` or later; the
        end where there is none.

        Raises:
            KafkaRefused: the topic is not there, or may not be read.
            KafkaUnavailable: no answer in time.
        """
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
