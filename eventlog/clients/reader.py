"""A reader is a consumer without a group."""

from collections.abc import Mapping, Sequence

from eventlog.clients.offsets_client import AsksOffsets
from eventlog.records import Fetched, TopicPartition


class Reader(AsksOffsets):
    """Reads committed records of the partitions that it assigns to itself. An end is the last
    stable offset."""

    async def stable_ends(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """Returns the last stable offset of each partition: all before it is decided, committed or
        aborted."""
        return await self._offsets(self._client.end_offsets, topic, partitions)

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
        """Returns the next offset that is to be read."""
        return int(await self._client.position(tp))

    async def fetch(self, timeout_ms: int, most: int | None = None) -> Fetched:
        """Returns what has come, at most so many records of all partitions together; nothing after
        the time.

        Raises:
            OffsetOutOfRangeError: there is nothing at a position.
            KafkaError: a broker refuses.
        """
        fetched: Fetched = await self._client.getmany(timeout_ms=timeout_ms, max_records=most)
        return fetched
