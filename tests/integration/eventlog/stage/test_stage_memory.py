"""Many stages of one process far behind: what they hold together is bounded, and none waits for
another."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from eventlog.aiokafka_internals import connections_of
from eventlog.clients.fetcher import Fetcher
from eventlog.clients.group_consumer import GroupConsumer
from eventlog.clients.lane_assignor import LaneAssignor
from eventlog.clients.offsets_client import OffsetsClient
from eventlog.clients.producer import TransactionalProducer
from eventlog.kafka import FETCH_BYTES, Kafka
from eventlog.records import Output, Record
from eventlog.stage.budget import Budget
from eventlog.stage.metrics import StageMetrics
from eventlog.stage.setup import Limits, Rest, StageName, StageSetup
from eventlog.stage.stage import Stage
from eventlog.stage.stage_partition import Batch, Fail, OutputLog, StagePartition
from eventlog.stage.traces import StageTraces
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import Tracing
from runtime.tracing_setup import tracing_of
from tests.integration.kafka_tools import eventually
from tests.integration.roles import install

STAGES = 6
RECORDS_EACH = 8_000
VALUE = b"x" * 500
TOTAL = 8 * 1024 * 1024
MOST = TOTAL + 2 * STAGES * FETCH_BYTES
"""Each may come to have a fetch more than its part, and as objects these records take 1.6 times
what they take on the wire."""


class WatchedBudget(Budget):
    """Remembers the most that was ever held."""

    peak = 0

    def change(self, amount: int) -> None:
        super().change(amount)
        self.peak = max(self.peak, self.used)


class WatchedKafka(Kafka):
    """Remembers the clients of stages."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, "test")
        self.made: list[Any] = []

    def transactional_producer(
        self, transactional_id: str, topic: str = ""
    ) -> TransactionalProducer:
        producer = super().transactional_producer(transactional_id, topic)
        self.made.append(connections_of(producer._client))
        return producer

    def fetcher(
        self,
        topics: Sequence[str],
        fetch_bytes: int = FETCH_BYTES,
        fetch_wait_ms: int = 500,
        arrived: asyncio.Event | None = None,
        partition_bytes: int | None = None,
    ) -> Fetcher:
        fetcher = super().fetcher(topics, fetch_bytes, fetch_wait_ms, arrived, partition_bytes)
        if topics:
            # Whoever restores has a reader without topics, for a moment.
            self.made.append(connections_of(fetcher._client))
        return fetcher

    def group_consumer(
        self, group: str, instance_id: str | None, assignor: LaneAssignor
    ) -> GroupConsumer:
        consumer = super().group_consumer(group, instance_id, assignor)
        self.made.append(connections_of(consumer._client))
        return consumer

    def offsets_client(self, topic: str = "") -> OffsetsClient:
        client = super().offsets_client(topic)
        self.made.append(connections_of(client._client))
        return client


class Gated:
    """A ``StagePartition`` that waits for its gate, and then only counts."""

    note = ""

    def __init__(self, gate: asyncio.Event, done: list[int]) -> None:
        self._gate = gate
        self._done = done

    async def restore(self, output: OutputLog) -> int:
        return 0

    async def process(self, records: Sequence[Record]) -> Batch:
        await self._gate.wait()
        self._done.append(len(records))
        return Batch((), len(records))


class Behind:
    """Stages over a topic that holds far more than they may keep."""

    def __init__(self, kafka: Kafka, settings: Settings, limits: Limits) -> None:
        self.gates = [asyncio.Event() for _ in range(STAGES)]
        self.done: list[list[int]] = [[] for _ in range(STAGES)]
        self._kafka, self._settings, self._limits = kafka, settings, limits

    def total(self, number: int) -> int:
        return sum(self.done[number])

    @asynccontextmanager
    async def running(self, stages: int) -> AsyncIterator[None]:
        """Stopped in order, or at once if the test fails."""
        stop = asyncio.Event()
        async with tracing_of(self._settings, "test") as tracing:
            tasks = [
                asyncio.create_task(self._stage(number, tracing).run(stop))
                for number in range(stages)
            ]
            try:
                yield
                stop.set()
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    def _stage(self, number: int, tracing: Tracing) -> Stage:
        topics = self._settings.topics
        readiness = Readiness()
        name = StageName(f"stage {number}", f"{topics.lock_events}.{number}", topics.lock_events)

        def make_partition(partition: int, fail: Fail) -> StagePartition:
            return Gated(self.gates[number], self.done[number])

        counts = StageMetrics(readiness, list).of("test")
        traces = StageTraces(tracing, name.group, name.input_topic)
        lanes = self._settings.lane_sets

        async def confirm(offsets: OffsetsClient) -> None:
            """Does nothing: the stage may always work."""

        setup = StageSetup(
            *(
                name,
                lanes,
                make_partition,
                confirm,
                Rest(0.0),
                readiness,
                counts,
                traces,
                self._limits,
            )
        )
        return Stage(self._kafka, setup)


@pytest.fixture
async def backlog(kafka: Kafka, settings: Settings) -> int:
    await install(kafka, settings)
    async with kafka.idempotent_producer() as producer:
        for partition in range(settings.partitions):
            sent = [
                await producer.send(Output(settings.topics.lock_events, None, VALUE), partition)
                for _ in range(RECORDS_EACH)
            ]
            await asyncio.gather(*sent)
    return RECORDS_EACH * settings.partitions


async def test_stages_that_are_held_back_hold_no_more_than_their_process_may(
    kafka: Kafka, settings: Settings, backlog: int
) -> None:
    """All are held back with a backlog before them; one stays so while the others work it off."""
    budget = WatchedBudget(TOTAL)
    limits = Limits()
    limits.memory = budget
    behind = Behind(kafka, settings, limits)

    async def nobody_may_take_more() -> bool:
        assert budget.peak <= MOST
        held = [share.held for share in budget._shares]
        return len(held) == STAGES * settings.lanes and all(held)

    async def others_are_done() -> bool:
        return all(behind.total(number) == backlog for number in range(1, STAGES))

    async def all_are_done() -> bool:
        return await others_are_done() and behind.total(0) == backlog

    async with behind.running(STAGES):
        await eventually(nobody_may_take_more)
        for gate in behind.gates[1:]:
            gate.set()
        await eventually(others_are_done, timeout_s=60.0)
        assert behind.done[0] == []
        behind.gates[0].set()
        await eventually(all_are_done)
    assert budget.used == 0
    assert budget.peak <= MOST


async def test_the_clients_of_a_stage_keep_themselves_informed_of_its_own_topics_only(
    settings: Settings,
) -> None:
    """Once a minute each asks for the metadata of its topics; of all topics there are, if it has
    none. With a hundred partners that was most of the memory."""
    kafka = WatchedKafka(settings)
    await install(kafka, settings)
    behind = Behind(kafka, settings, Limits())
    kafka.made.clear()

    async def has_made_its_clients() -> bool:
        # A writer and a fetcher for each lane, a member of the group, one that asks for ends.
        return len(kafka.made) == 2 * settings.lanes + 2

    async with behind.running(1):
        await eventually(has_made_its_clients)
        for client in kafka.made:
            await client.force_metadata_update()
        assert {topic for client in kafka.made for topic in client.cluster.topics()} == {
            settings.topics.lock_events
        }
