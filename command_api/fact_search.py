"""Finds a fact that is recorded and has no event yet: only ``lock-facts`` itself has it."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader
from runtime.errors import KafkaUnavailable
from schemas.lock_facts import Fact, decode_fact
from schemas.topics import LockTopics
from schemas.undecodable import Undecodable


class FactSearch:
    """Reads the facts that the projector has not worked off yet. One search runs at a time."""

    def __init__(self, kafka: Kafka, topics: LockTopics, timeout_s: float) -> None:
        self._kafka = kafka
        self._topics = topics
        self._timeout_s = timeout_s
        self._one_at_a_time = asyncio.Lock()

    async def find(self, event_id: UUID, next_facts: Mapping[int, int]) -> Fact | None:
        """Searches for the fact with this id from the offsets ``next_facts`` on, by partition. What
        is projected while the search waits for its turn is found, too.

        Raises:
            KafkaUnavailable: it can't be known within ``timeout_s``, the wait included.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._one_at_a_time:
                return await self._search(event_id, next_facts)
        except TimeoutError as error:
            raise KafkaUnavailable("the facts could not be searched in time") from error

    async def _search(self, event_id: UUID, next_facts: Mapping[int, int]) -> Fact | None:
        topic, partitions = self._topics.lock_facts, self._topics.numbers
        async with self._kafka.offsets_client() as client:
            ends = await client.high_watermarks(topic, partitions)
            retained = await client.beginnings(topic, partitions)
        begins = {p: max(retained[p], next_facts[p]) for p in partitions}
        wanted = str(event_id).encode()
        async with LogReader.open(self._kafka) as reader:
            async for records in reader.read(topic, begins, ends):
                for record in records:
                    if record.value is not None and wanted in record.value:
                        fact = _read(record.value)
                        if fact is not None and fact.event_id == event_id:
                            return fact
        return None


def _read(value: bytes) -> Fact | None:
    try:
        return decode_fact(value)
    except Undecodable:
        return None
