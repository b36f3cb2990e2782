"""A consumer without a group."""

from collections.abc import Mapping, Sequence

from eventlog.clients.offsets_client import AsksOffsets
from eventlog.records import FetchedRecord, TopicPartition


class Reader(AsksOffsets):
    """Reads committed records of the partitions that it assigns to itself, so an end is the last
    stable offset."""

    async def stable_ends(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Returns the last stable offset of each partition: all before it is decided, committed or
        aborted.

        Raises:
            KafkaRefused: the topic is not there, or may not be read.
            KafkaUnavailable: no answer in time.
        """
        return await self._ends(topic, partitions)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Goes on with these partitions, each at its offset, and with no other."""
        self._client.assign(list(positions))
        for tp, offset in positions.items():
            self._client.seek(tp, offset)

    def assigned(self) -> set[TopicPartition]:
        found: set[TopicPartition] = self._client.assignment()
        return found

    def pause(self, tp: TopicPartition) -> None:
        self._client.pause(tp)

    async def position(self, tp: TopicPartition) -> int:
        """Returns the next offset that is to be read.

        Raises:
            KafkaError: the partition is not assigned.
        """
        return int(await self._client.position(tp))

    async def fetch(
        self, timeout_ms: int, most: int | None = None
    ) -> Mapping[TopicPartition, list[FetchedRecord]]:
        """Returns what has come, ``most`` records of all partitions together; after the time,
        nothing.

        Raises:
            OffsetOutOfRangeError: there is nothing at a position.
            KafkaError: another answer of a broker's.
        """
        batches: Mapping[TopicPartition, list[FetchedRecord]] = await self._client.getmany(
            timeout_ms=timeout_ms, max_records=most
        )
        return batches
