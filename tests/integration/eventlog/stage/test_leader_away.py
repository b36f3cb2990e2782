"""Three brokers, topics without copies, and one broker that dies: its partitions have no leader."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from chaos.brokers import Brokers
from chaos.ports import PortRange
from eventlog.kafka import Kafka
from eventlog.records import TopicPartition
from runtime.errors import KafkaUnavailable
from runtime.settings import Settings
from tests.integration.eventlog.stage.test_stage import Copies, copies
from tests.integration.kafka_tools import eventually

PARTITIONS = 9
LONG_S = 90.0


@pytest.fixture
async def brokers(tmp_path: Path) -> AsyncIterator[Brokers]:
    three = Brokers(tmp_path / "brokers", PortRange(), 3)
    await three.start()
    try:
        yield three
    finally:
        await three.stop()


@pytest.fixture
def spread(brokers: Brokers, settings: Settings) -> Settings:
    """Each partition has one copy, on one of the brokers; Kafka's own topics have three."""
    return msgspec.structs.replace(settings, kafka_bootstrap_servers=brokers.bootstrap_servers)


async def leaders(kafka: Kafka, topic: str) -> dict[int, int]:
    async with kafka.offsets_client(topic) as client:
        found = {p: await client.connections.leader_of(TopicPartition(topic, p)) for p in range(9)}
    return {p: leader for p, leader in found.items() if leader is not None}


@pytest.mark.timeout(240)
async def test_a_partition_whose_leader_is_away_holds_its_lane_up_once_and_is_taken_in_again(
    brokers: Brokers, spread: Settings
) -> None:
    kafka = Kafka(spread, "test")
    async with copies(kafka, spread, PARTITIONS) as stage:
        for partition in range(PARTITIONS):
            await stage.put(b"a", partition=partition)
            await stage.until_copied(b"a", partition=partition)
        facts = await leaders(kafka, stage.topics.lock_facts)
        events = await leaders(kafka, stage.topics.lock_events)
        lost, well = _one_of_each(facts, events)
        victim = events[lost]
        await brokers.kill_node(victim - 1)
        await _put(stage, lost, b"b")
        await _put(stage, well, b"b")
        await eventually(lambda: _copied(stage, well, b"a", b"b"), LONG_S)
        await _put(stage, well, b"c")
        await eventually(lambda: _copied(stage, well, b"a", b"b", b"c"), LONG_S)
        await brokers.start_node(victim - 1)
        await eventually(lambda: _copied(stage, lost, b"a", b"b"), LONG_S)


def _one_of_each(facts: dict[int, int], events: dict[int, int]) -> tuple[int, int]:
    """Returns a partition that loses its output but not its input with one broker, and one that
    loses neither."""
    for lost in range(PARTITIONS):
        if facts[lost] == events[lost]:
            continue
        for well in range(PARTITIONS):
            if events[lost] not in (facts[well], events[well]):
                return lost, well
    pytest.skip("the brokers have shared the partitions out too evenly")


async def _put(stage: Copies, partition: int, value: bytes) -> None:
    await stage.put(value, partition=partition)


async def _copied(stage: Copies, partition: int, *values: bytes) -> bool:
    try:
        return await stage.copied(partition) == list(values)
    except KafkaUnavailable:
        return False
