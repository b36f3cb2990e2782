"""A replay has ended when every partition holds its end marker, and that is noted once."""

from collections.abc import Sequence

import msgspec
import pytest

from eventlog.kafka import Kafka
from eventlog.registry import read_registry, write_entries
from eventlog.topic_setup import ensure_topics
from fanout.replay_ends import end_replay
from runtime.errors import StreamViolation
from runtime.settings import Settings
from schemas.primitives import Headers
from schemas.registry import Replay
from schemas.replay_events import ReplayEndedHeaders, encode_replay_ended, replay_ended
from schemas.topic_configs import replay_topic
from tests.examples_of import POSITIONS, TIME
from tests.integration.kafka_tools import read_all, write_raw
from tests.integration.roles import install


class Ending:
    def __init__(self, kafka: Kafka, settings: Settings) -> None:
        self.kafka, self.topics = kafka, settings.topics
        self.topic = settings.topics.partner_replay("a", 1)
        self.replay = Replay(
            partner_id="a",
            number=1,
            org_id="acme",
            types=("*",),
            start_offsets=(0,) * settings.partitions,
            end_offsets=(9,) * settings.partitions,
            created_at=TIME,
        )

    async def end(self, partition: int, count: int) -> None:
        record = replay_ended("a", 1, partition, count, TIME)
        position = POSITIONS.seal(self.topic, partition, count + 1, 9)
        headers = ReplayEndedHeaders.of(record, position=position, sequence=count + 1).to_kafka()
        await self.write(partition, encode_replay_ended(record), headers)

    async def write(self, partition: int, value: bytes, headers: Headers) -> None:
        await write_raw(self.kafka, self.topic, partition, None, value, headers)

    async def entry(self) -> Replay | None:
        return (await read_registry(self.kafka, self.topics.registry)).replay("a", 1)

    async def has_ended(self) -> bool:
        return await end_replay(self.kafka, self.topics, self.replay)


@pytest.fixture
async def ending(kafka: Kafka, settings: Settings) -> Ending:
    await install(kafka, settings)
    made = Ending(kafka, settings)
    await ensure_topics(kafka, settings, [replay_topic(settings.topics, "a", 1)])
    await write_entries(kafka, settings.topics.registry, [made.replay])
    return made


async def ended_entries(ending: Ending) -> Sequence[bytes | None]:
    records = await read_all(ending.kafka, ending.topics.registry, 1)
    return [r.value for r in records if b'"ended"' in (r.value or b"")]


async def test_a_replay_ends_with_the_last_of_its_partitions_and_counts_each(
    ending: Ending,
) -> None:
    for partition in ending.topics.numbers[1:]:
        assert not await ending.has_ended()
        await ending.end(partition, 10 * partition)
    await ending.write(0, b"{}", (("ce_type", b"TempKeyUsed"),))
    assert not await ending.has_ended()
    assert await ending.entry() == ending.replay
    await ending.end(0, 1)
    assert await ending.has_ended()
    noted = await ending.entry()
    assert noted is not None
    assert (noted.status, noted.counts) == ("ended", (1, 10, 20))
    assert await ending.has_ended()
    assert await ending.entry() == noted
    assert len(await ended_entries(ending)) == 1


async def test_a_replay_that_was_cancelled_meanwhile_stays_so(ending: Ending) -> None:
    for partition in ending.topics.numbers:
        await ending.end(partition, 0)
    cancelled = msgspec.structs.replace(ending.replay, status="cancelled")
    await write_entries(ending.kafka, ending.topics.registry, [cancelled])
    assert await ending.has_ended()
    assert await ending.entry() == cancelled


async def test_an_end_that_can_not_be_read_is_none(ending: Ending) -> None:
    for partition in ending.topics.numbers:
        await ending.write(partition, b"{}", (("ce_type", b"lockstream.ReplayEnded"),))
    with pytest.raises(StreamViolation, match=r"replay\.1\[0\] offset 0: "):
        await ending.has_ended()
