"""Fence, restore, consume: what the owner of a partition does, whatever it decides."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from eventlog.checkpoints import Checkpoint, Checkpoints
from eventlog.kafka import Kafka
from eventlog.records import Output, Record, TopicPartition
from eventlog.stage import partition_owner
from eventlog.stage.metrics import StageMetrics
from eventlog.stage.partition_owner import PartitionOwner
from eventlog.stage.setup import Limits, StageClients, StageName, StageSetup
from eventlog.stage.stage import Stage
from eventlog.stage.stage_partition import Batch, Fail, OutputLog, StagePartition
from eventlog.stage.traces import StageTraces
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import StreamViolation
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import Tracing
from runtime.tracing_setup import tracing_of
from tests.integration.kafka_tools import (
    end_of,
    eventually,
    leave_aborted,
    read_all,
    write_raw,
)
from tests.integration.roles import install

HEADER = "source-offset"


class CopiedBatch(Batch, frozen=True):
    """Notes the offsets of its records once they are committed."""

    sources: list[int]
    noted: list[int]

    async def committed(self, offsets: Sequence[int]) -> None:
        assert len(offsets) == len(self.sources)
        self.noted.extend(self.sources)


class Copying:
    """A ``StagePartition`` that copies its input, and notes what it was given. It is asked for
    ``fault`` before it decides, and decides once its ``gate`` is open, on ``most`` at once."""

    note = ""

    def __init__(self, topic: str, copies: "Copies", fail: Fail) -> None:
        self._topic, self._copies, self.fail = topic, copies, fail

    async def restore(self, output: OutputLog) -> int:
        self._copies.restored += 1
        self._copies.fails.append(self.fail)
        last = await output.last(self._topic)
        source = -1 if last is None else int(dict(last.headers)[HEADER])
        return source + 1 + self._copies.skips

    async def process(self, records: Sequence[Record]) -> Batch:
        self._copies.given.extend(record.offset for record in records)
        if (checkpoint := self._copies.owner.checkpoint) is not None:
            self._copies.leads.append(checkpoint.next_offset - records[0].offset)
        if self._copies.fault is not None:
            fault, self._copies.fault = self._copies.fault, None
            raise fault
        await self._copies.gate.wait()
        records = records[: self._copies.most]
        outputs = [
            Output(self._topic, record.key, record.value, ((HEADER, b"%d" % record.offset),))
            for record in records
        ]
        sources = [record.offset for record in records]
        return CopiedBatch(outputs, len(records), sources, self._copies.committed)


class AskedCheckpoints(Checkpoints):
    """Stands for a group that has expelled its member, as long as ``expelled`` is set."""

    expelled = False
    asked = 0

    async def write(self, checkpoints: Mapping[TopicPartition, Checkpoint]) -> bool:
        self.asked += 1
        return not self.expelled and await super().write(checkpoints)


class Copies(Stage):
    """Copies ``lock-facts`` to ``lock-events``, partition 0."""

    def __init__(self, kafka: Kafka, settings: Settings, tracing: Tracing) -> None:
        self.restored = 0
        self.given: list[int] = []
        self.committed: list[int] = []
        self.leads: list[int] = []
        self.fails: list[Fail] = []
        self.fault: Exception | None = None
        self.skips = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.most = 1_000
        self.topics = settings.topics
        self.kafka = kafka
        self.readiness = Readiness()
        self.checkpoints: AskedCheckpoints
        prefix = f"{settings.topics.lock_facts}.copies"
        name = StageName("copies", prefix, prefix, settings.topics.lock_facts)

        def make_partition(partition: int, fail: Fail) -> StagePartition:
            return Copying(settings.topics.lock_events, self, fail)

        setup = StageSetup(
            name,
            make_partition,
            0.0,
            self.readiness,
            StageMetrics(self.readiness, list).of("test"),
            StageTraces(tracing, name.group, name.input_topic),
            Limits(),
        )
        super().__init__(kafka, setup)

    def _make_clients(self) -> StageClients:
        clients = super()._make_clients()
        self.checkpoints = AskedCheckpoints(self._setup.name.group, clients.consumer)
        return msgspec.structs.replace(clients, checkpoints=self.checkpoints)

    async def put(self, *values: bytes) -> None:
        for value in values:
            await write_raw(self.kafka, self.topics.lock_facts, 0, b"7", value)

    async def copied(self) -> list[bytes | None]:
        records = await read_all(self.kafka, self.topics.lock_events, 1)
        return [record.value for record in records]

    async def until_copied(self, *values: bytes) -> None:
        async def all_are() -> bool:
            there = await self.copied()
            assert there == list(values[: len(there)])
            return len(there) == len(values)

        await eventually(all_are)

    async def until_blocked(self, text: str) -> None:
        async def it_says_so() -> bool:
            return any(text in why for why in self.readiness.obstacles.values())

        await eventually(it_says_so)

    async def until_given(self, *offsets: int) -> None:
        async def they_are() -> bool:
            return self.given == list(offsets)

        await eventually(they_are)

    @property
    def owner(self) -> PartitionOwner:
        (owner,) = self._owners()
        return owner

    async def thief(self) -> TransactionalWriter:
        """Takes partition 0 over, as its next owner would."""
        prefix = self._setup.name.transactional_prefix
        return await TransactionalWriter.fence(self.kafka, f"{prefix}.0", 0)


@asynccontextmanager
async def copies(kafka: Kafka, settings: Settings) -> AsyncIterator[Copies]:
    """Runs on one partition. Stopped in order, or at once if the test fails."""
    one = msgspec.structs.replace(settings, partitions=1)
    await install(kafka, one)
    stop = asyncio.Event()
    async with tracing_of(one, "test") as tracing:
        stage = Copies(kafka, one, tracing)
        task = asyncio.create_task(stage.run(stop))
        try:
            yield stage
            stop.set()
            await task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_what_was_aborted_is_never_decided_on(kafka: Kafka, settings: Settings) -> None:
    async with copies(kafka, settings) as stage:
        await leave_aborted(kafka, stage.topics.lock_facts, b"aborted")
        await stage.put(b"a")
        await stage.until_copied(b"a")


async def test_after_an_error_the_position_comes_from_the_output_again(
    kafka: Kafka, settings: Settings
) -> None:
    async with copies(kafka, settings) as stage:
        await stage.put(b"a")
        await stage.until_copied(b"a")
        # As if the answer to its own commit had been lost: the output has more than it knows.
        thief = await stage.thief()
        await thief.write([Output(stage.topics.lock_events, b"7", b"b", ((HEADER, b"1"),))])
        await stage.put(b"b", b"c")
        await stage.until_copied(b"a", b"b", b"c")
        assert stage.restored >= 2
        await thief.discard()


async def test_a_batch_learns_of_its_commit_once_and_of_a_failed_one_never(
    kafka: Kafka, settings: Settings
) -> None:
    async with copies(kafka, settings) as stage:
        await stage.put(b"a")
        await stage.until_copied(b"a")
        thief = await stage.thief()
        await thief.write([Output(stage.topics.lock_events, b"7", b"b", ((HEADER, b"1"),))])
        await stage.put(b"b", b"c")
        await stage.until_copied(b"a", b"b", b"c")

        async def it_has() -> bool:
            return stage.committed == [0, 2]

        await eventually(it_has)
        await thief.discard()


async def test_whoever_is_expelled_from_its_group_leaves_its_successor_alone(
    kafka: Kafka, settings: Settings
) -> None:
    async with copies(kafka, settings) as stage:
        await stage.put(b"a")
        await stage.until_copied(b"a")
        stage.checkpoints.expelled = True
        successor = await stage.thief()
        await stage.put(b"b")
        await stage.until_blocked("transaction failed")
        asked = stage.checkpoints.asked

        async def asked_again() -> bool:
            return stage.checkpoints.asked > asked + 2

        await eventually(asked_again)
        await successor.write([Output(stage.topics.lock_events, b"7", b"b", ((HEADER, b"1"),))])
        assert stage.restored == 1
        stage.checkpoints.expelled = False
        await stage.put(b"c")
        await stage.until_copied(b"a", b"b", b"c")
        await successor.discard()


async def test_an_input_that_has_lost_records_stops_the_partition(
    kafka: Kafka, settings: Settings, logged_errors: list[str]
) -> None:
    async with copies(kafka, settings) as stage:
        stage.skips = 5
        thief = await stage.thief()
        await stage.put(b"a")
        await stage.until_blocked("it has lost records or was made anew")
        await thief.discard()
    logged_errors.clear()


async def test_an_error_that_nobody_foresaw_stops_its_partition_for_good(
    kafka: Kafka, settings: Settings, logged_errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever tried again would do so at once.
    monkeypatch.setattr(partition_owner, "FIRST_PAUSE_S", 0.0)
    async with copies(kafka, settings) as stage:
        stage.fault = ZeroDivisionError("unforeseen")
        await stage.put(b"a")
        await stage.until_blocked("stopped: ")
        restored = stage.restored
        await stage.put(b"b")
        await stage.put(b"c")
        assert stage.status()["0"]["stopped"]  # type: ignore[index]
        assert await stage.copied() == []
        assert stage.restored == restored
    assert any("unforeseen" in line for line in logged_errors)
    logged_errors.clear()


async def test_what_an_attempt_of_before_is_told_says_nothing_to_the_next(
    kafka: Kafka, settings: Settings
) -> None:
    async with copies(kafka, settings) as stage:
        await stage.put(b"a")
        await stage.until_copied(b"a")
        thief = await stage.thief()
        await stage.put(b"b")
        await stage.until_copied(b"a", b"b")
        restored = stage.restored
        stage.fails[0](StreamViolation("of an attempt that has ended"))
        await stage.put(b"c")
        await stage.until_copied(b"a", b"b", b"c")
        assert stage.restored == restored
        await thief.discard()


async def test_what_is_not_taken_at_once_is_given_again(kafka: Kafka, settings: Settings) -> None:
    async with copies(kafka, settings) as stage:
        stage.gate.clear()
        stage.most = 1
        await stage.put(b"a")
        await stage.until_given(0)
        await stage.put(b"b", b"c", b"d")
        stage.gate.set()
        await stage.until_copied(b"a", b"b", b"c", b"d")
        assert stage.restored == 1
        assert set(stage.given) == {0, 1, 2, 3}
        # What was not taken is not passed by the checkpoint either.
        assert stage.leads == [0] * len(stage.leads)
        assert len(stage.leads) >= 4


async def test_a_checkpoint_never_passes_what_waits_or_is_in_work(
    kafka: Kafka, settings: Settings
) -> None:
    """It is believed where nothing was written since: what it has passed would be lost."""
    async with copies(kafka, settings) as stage:
        await stage.put(b"a")
        await stage.until_copied(b"a")
        stage.gate.clear()
        await stage.put(b"b")
        await stage.until_given(0, 1)
        await stage.put(b"c")
        await eventually(lambda: _waits(stage.owner))
        stage.owner.pass_markers()
        assert stage.owner.checkpoint is not None
        assert stage.owner.checkpoint.next_offset == 1
        stage.gate.set()
        await stage.until_copied(b"a", b"b", b"c")


async def _waits(owner: PartitionOwner) -> bool:
    return len(owner._feed) > 0


async def test_a_checkpoint_passes_the_markers_behind_the_last_record(
    kafka: Kafka, settings: Settings
) -> None:
    """Tools that compare offsets would see a lag that never ends."""
    async with copies(kafka, settings) as stage:
        await stage.put(b"a")
        await leave_aborted(kafka, stage.topics.lock_facts, b"aborted")
        await stage.until_copied(b"a")
        end = await end_of(kafka, stage.topics.lock_facts, 0)

        async def passed() -> bool:
            stage.owner.pass_markers()
            checkpoint = stage.owner.checkpoint
            return checkpoint is not None and checkpoint.next_offset == end

        await eventually(passed)


async def test_what_is_in_work_at_an_orderly_stop_is_finished(
    kafka: Kafka, settings: Settings
) -> None:
    """Cut off, its transaction would stay open and hide what follows it."""
    async with copies(kafka, settings) as stage:
        await stage.put(b"a")
        await stage.until_copied(b"a")
        stage.gate.clear()
        await stage.put(b"b")
        await stage.until_given(0, 1)
        owner = stage.owner

        async def goes_on_once_it_is_to_end() -> None:
            await eventually(lambda: _is_to_end(owner))
            stage.gate.set()

        going_on = asyncio.create_task(goes_on_once_it_is_to_end())
    await going_on
    assert await stage.copied() == [b"a", b"b"]


async def _is_to_end(owner: PartitionOwner) -> bool:
    return owner._feed.ended
