"""Reads topics live: what a consumer of the log gets while all this goes on."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from chaos.history import Seen
from eventlog.kafka import Kafka
from eventlog.records import Record
from eventlog.tail import Tail
from runtime.errors import KafkaUnavailable

RETRY_S = 0.2


class Watcher:
    """Follows topics from their beginning, each as somebody who may read it, and remembers when
    each record came."""

    def __init__(self, readers: Mapping[str, Kafka], partitions: int) -> None:
        self._readers = readers
        self._next = {topic: dict.fromkeys(range(partitions), 0) for topic in readers}
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._latest: dict[tuple[str, int], float] = {}
        self.seen: list[Seen] = []
        self.out_of_order: list[Seen] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._follow(kafka, topic))
            for topic, kafka in self._readers.items()
        ]

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    def latest(self, topic: str) -> Mapping[int, float]:
        """Returns per partition when its last record came: seconds of the monotonic clock."""
        return {p: at for (name, p), at in self._latest.items() if name == topic}

    async def _follow(self, kafka: Kafka, topic: str) -> None:
        begins = {topic: self._next[topic]}
        while not self._stop.is_set():
            try:
                await Tail(kafka, begins, self._take).run(self._stop)
            except KafkaUnavailable:
                await asyncio.sleep(RETRY_S)

    def _take(self, topic: str, records: Sequence[Record]) -> None:
        for record in records:
            seen = Seen(topic, record.partition, record.offset, content_of(record))
            self.seen.append(seen)
            if record.offset < self._next[topic][record.partition]:
                self.out_of_order.append(seen)
            self._next[topic][record.partition] = record.offset + 1
            self._latest[topic, record.partition] = time.monotonic()


def content_of(record: Record) -> int:
    return hash((record.key, record.value, tuple(record.headers)))
