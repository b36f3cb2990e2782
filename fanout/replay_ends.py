"""Notes in the registry that a replay has ended, once every partition holds its end marker."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader
from eventlog.registry import Registry, edit_registry
from runtime.errors import StreamViolation
from schemas.primitives import write_time
from schemas.records import Place
from schemas.registry import Replay
from schemas.replay_events import decode_replay_ended, is_replay_end
from schemas.topics import LockTopics
from schemas.undecodable import Undecodable


async def end_replay(kafka: Kafka, topics: LockTopics, replay: Replay) -> bool:
    """Returns whether the replay has ended; if so, its entry says it and how many events there
    were. Replicas that end their parts at the same time may both find that, and one notes it.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        KafkaRefused: we may not write to the registry.
        StreamViolation: an end marker is none.
    """
    counts = await read_counts(kafka, topics, replay)
    if counts is None:
        return False
    ended_at = write_time(datetime.now(UTC))

    def edit(registry: Registry) -> Sequence[Replay]:
        now = registry.replay(replay.partner_id, replay.number)
        if now is None or now.status != "running":
            return []
        return [msgspec.structs.replace(now, status="ended", ended_at=ended_at, counts=counts)]

    await edit_registry(kafka, topics.registry, edit)
    return True


async def read_counts(kafka: Kafka, topics: LockTopics, replay: Replay) -> tuple[int, ...] | None:
    """Returns how many events each partition's end marker counts; None unless all have one.

    Raises:
        KafkaUnavailable: the topic can't be read.
        StreamViolation: an end marker can't be.
    """
    topic, numbers = topics.partner_replay(replay.partner_id, replay.number), topics.numbers
    async with kafka.offsets_client() as client:
        begins = await client.beginnings(topic, numbers)
        ends = await client.high_watermarks(topic, numbers)
    counts: list[int] = []
    async with LogReader.open(kafka, fetch_wait_ms=20) as reader:
        for p in numbers:
            last = await reader.last(topic, p, ends[p], begins[p])
            if last is None or not is_replay_end(last.headers):
                return None
            try:
                counts.append(decode_replay_ended(last.value or b"").detail.count)
            except Undecodable as error:
                raise StreamViolation(f"{Place.of(topic, last)}: {error}") from error
    return tuple(counts)
