"""Is a fact recorded whose event nobody has seen yet? Only ``lock-facts`` itself can tell."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader
from runtime.errors import KafkaUnavailable
from schemas.lock_facts import Fact, decode_fact
from schemas.undecodable import Undecodable


class PendingFacts:
    """Reads what the projector has not folded in yet. One search at a time, with a deadline."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int, timeout_s: float) -> None:
        self._kafka = kafka
        self._topic = topic
        self._partitions = range(partitions)
        self._timeout_s = timeout_s
        self._one_at_a_time = asyncio.Lock()

    async def find(self, event_id: UUID, begins: Mapping[int, int]) -> Fact | None:
        """The fact with this id, from the offsets ``begins`` on: where they ended that were
        looked up before. While this waits for its turn, the projector goes on.

        Raises:
            KafkaUnavailable: it can't be known in time.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._one_at_a_time:
                return await self._search(event_id, begins)
        except TimeoutError as error:
            raise KafkaUnavailable("the facts could not be searched in time") from error

    async def _search(self, event_id: UUID, begins: Mapping[int, int]) -> Fact | None:
        async with self._kafka.offsets_client() as client:
            ends = await client.high_watermarks(self._topic, list(self._partitions))
            retained = await client.beginnings(self._topic, list(self._partitions))
        begins = {p: max(retained[p], begins[p]) for p in self._partitions}
        wanted = str(event_id).encode()
        async with LogReader.open(self._kafka) as reader:
            async for records in reader.read(self._topic, begins, ends):
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
