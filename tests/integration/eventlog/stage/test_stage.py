"""Fence, restore, consume: what the owner of a lane does, whatever its partitions decide."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from eventlog.checkpoints import Checkpoint, Checkpoints
from eventlog.clients.offsets_client import OffsetsClient
from eventlog.kafka import Kafka
from eventlog.records import Output, Record, TopicPartition
from eventlog.stage import lane_partition
from eventlog.stage.lane import Lane
from eventlog.stage.lane_partition import LanePartition
from eventlog.stage.metrics import StageMetrics
from eventlog.stage.setup import Limits, Rest, StageClients, StageName, StageSetup
from eventlog.stage.stage import Stage
from eventlog.stage.stage_partition import Batch, Fail, OutputLog, StagePartition
from eventlog.stage.traces import StageTraces
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import StreamViolation, Unavailable
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import Tracing
from runtime.tracing_setup import tracing_of
from schemas.lanes import Lanes
from schemas.topics import MAX_OUTPUT_BYTES
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
        assert len(offsets) == len(self.outputs)
        self.noted.extend(self.sources)


class Copying:
    """A ``StagePartition`` that copies its input, and notes what it was given. It is asked for
    ``fault`` before it decides, and decides once the ``gate`` is open, on ``most`` at once."""

    note = ""

    def __init__(self, topic: str, copies: "Copies", partition: int, fail: Fail) -> None:
        self._topic, self._copies, self._partition, self.fail = topic, copies, partition, fail

    async def restore(self, output: OutputLog) -> int:
        if self._partition == 1 and not self._copies.away.is_set():
            raise Unavailable("what it asks is away")
        self._copies.restored.append(self._partition)
        if (fault := self._copies.fault_of_restore) is not None:
            self._copies.fault_of_restore = None
            self.fail(fault)
        self._copies.fails.setdefault(self._partition, []).append(self.fail)
        last = await output.last(self._topic)
        source = -1 if last is None else int(dict(last.headers)[HEADER])
        return source + 1 + self._copies.skips

    async def process(self, records: Sequence[Record]) -> Batch:
        self._copies.given.extend(record.offset for record in records)
        progress = self._copies.partition(self._partition).progress
        assert progress is not None
        self._copies.leads.append(records[0].offset - progress.next_offset)
        if (fault := self._copies.faults.pop(self._partition, None)) is not None:
            raise fault
        await self._copies.gate.wait()
        records = records[: self._copies.most]
        large = b"x" * 2 * MAX_OUTPUT_BYTES if self._copies.swells == self._partition else b""
        outputs = [
            Output(
                self._topic,
                record.key,
                (record.value or b"") + large,
                ((HEADER, b"%d" % record.offset),),
            )
            for record in records
        ]
        sources = [record.offset for record in records]
        return CopiedBatch(outputs, len(records), sources, self._copies.committed)


class CopyingUpTo(Copying):
    """A ``BoundedPartition``: behind the last copy it writes ``the end``, unless that stands."""

    def __init__(self, topic: str, copies: "Copies", partition: int, fail: Fail) -> None:
        super().__init__(topic, copies, partition, fail)
        assert copies.end is not None
        self.end = copies.end
        self._ended = False

    async def restore(self, output: OutputLog) -> int:
        last = await output.last(self._topic)
        self._ended = last is not None and last.value == b"the end"
        return self.end if self._ended else await super().restore(output)

    async def finish(self) -> Batch:
        self._copies.finished.append(self._partition)
        if (fault := self._copies.fault_of_end) is not None:
            self._copies.fault_of_end = None
            raise fault
        end = Output(self._topic, None, b"the end", ((HEADER, b"%d" % self.end),))
        return CopiedBatch([] if self._ended else [end], 0, [], self._copies.committed)


class AskedCheckpoints(Checkpoints):
    """Stands for a group that has expelled its member, as long as ``expelled`` is set."""

    expelled = False
    asked = 0

    async def write(self, checkpoints: Mapping[TopicPartition, Checkpoint]) -> bool:
        self.asked += 1
        return not self.expelled and await super().write(checkpoints)


class Copies(Stage):
    """Copies ``lock-facts`` to ``lock-events``, all partitions of it in one lane."""

    def __init__(self, kafka: Kafka, settings: Settings, tracing: Tracing) -> None:
        self.restored: list[int] = []
        self.given: list[int] = []
        self.committed: list[int] = []
        self.leads: list[int] = []
        self.fails: dict[int, list[Fail]] = {}
        self.faults: dict[int, Exception] = {}
        self.fault_of_restore: Exception | None = None
        self.skips = 0
        self.end: int | None = None
        self.finished: list[int] = []
        self.fault_of_end: Exception | None = None
        self.swells = -1
        self.away = asyncio.Event()
        self.away.set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.most = 1_000
        self.topics = settings.topics
        self.kafka = kafka
        self.readiness = Readiness()
        self.checkpoints: AskedCheckpoints
        prefix = f"{settings.topics.lock_facts}.copies"
        name = StageName("copies", prefix, settings.topics.lock_facts)

        def make_partition(partition: int, fail: Fail) -> StagePartition:
            kind = Copying if self.end is None else CopyingUpTo
            return kind(settings.topics.lock_events, self, partition, fail)

        async def confirm(offsets: OffsetsClient) -> None:
            """Does nothing: the stage may always work."""

        setup = StageSetup(
            name,
            Lanes(settings.partitions, 1),
            make_partition,
            confirm,
            Rest(0.0),
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

    async def put(self, *values: bytes, partition: int = 0) -> None:
        for value in values:
            await write_raw(self.kafka, self.topics.lock_facts, partition, b"7", value)

    async def copied(self, partition: int = 0) -> list[bytes | None]:
        records = await read_all(self.kafka, self.topics.lock_events, [partition])
        return [record.value for record in records]

    async def until_copied(self, *values: bytes, partition: int = 0) -> None:
        async def all_are() -> bool:
            there = await self.copied(partition)
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

    def outputs(self, value: bytes, source: int) -> dict[int, list[Output]]:
        """What partition 0 makes of the input at this offset."""
        header = (HEADER, b"%d" % source)
        return {0: [Output(self.topics.lock_events, b"7", value, (header,))]}

    @property
    def lane(self) -> Lane:
        (lane,) = self._lanes()
        return lane

    def partition(self, number: int) -> LanePartition:
        return self.lane._partitions[number]

    async def thief(self) -> TransactionalWriter:
        """Takes the lane over, as its next owner would."""
        return await TransactionalWriter.fence(self.kafka, self._setup.name.lane(0))


@asynccontextmanager
async def copies(
    kafka: Kafka,
    settings: Settings,
    partitions: int = 1,
    *,
    away: bool = False,
    end: int | None = None,
) -> AsyncIterator[Copies]:
    """Stopped in order, or at once if the test fails. ``away``: what partition 1 asks is; ``end``:
    of the stretch that is copied."""
    one = msgspec.structs.replace(settings, partitions=partitions)
    await install(kafka, one)
    stop = asyncio.Event()
    async with tracing_of(one, "test") as tracing:
        stage = Copies(kafka, one, tracing)
        stage.end = end
        if away:
            stage.away.clear()
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
        await thief.write(stage.outputs(b"b", source=1))
        await stage.put(b"b", b"c")
        await stage.until_copied(b"a", b"b", b"c")
        assert len(stage.restored) >= 2
        await thief.discard()


async def test_a_batch_learns_of_its_commit_once_and_of_a_failed_one_never(
    kafka: Kafka, settings: Settings
) -> None:
    async with copies(kafka, settings) as stage:
        await stage.put(b"a")
        await stage.until_copied(b"a")
        thief = await stage.thief()
        await thief.write(stage.outputs(b"b", source=1))
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
        await successor.write(stage.outputs(b"b", source=1))
        assert stage.restored == [0]
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
    monkeypatch.setattr(lane_partition, "FIRST_PAUSE_S", 0.0)
    async with copies(kafka, settings) as stage:
        stage.faults[0] = ZeroDivisionError("unforeseen")
        await stage.put(b"a")
        await stage.until_blocked("stopped: ")
        restored = list(stage.restored)
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
        restored = list(stage.restored)
        stage.fails[0][0](StreamViolation("of an attempt that has ended"))
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
        assert stage.restored == [0]
        assert set(stage.given) == {0, 1, 2, 3}
        # What was not taken is not passed by the checkpoint either.
        assert min(stage.leads) >= 0
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
        progress = stage.partition(0).progress
        assert progress is not None
        assert progress.next_offset == 1
        stage.gate.set()
        await stage.until_copied(b"a", b"b", b"c")


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
            progress = stage.partition(0).progress
            return progress is not None and progress.next_offset == end

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
        lane = stage.lane

        async def goes_on_once_it_is_to_end() -> None:
            await eventually(lambda: _is_to_end(lane))
            stage.gate.set()

        going_on = asyncio.create_task(goes_on_once_it_is_to_end())
    await going_on
    assert await stage.copied() == [b"a", b"b"]


async def _is_to_end(lane: Lane) -> bool:
    return lane._ended.is_set()


async def test_a_partition_that_stops_leaves_its_lane_and_the_others_go_on(
    kafka: Kafka, settings: Settings, logged_errors: list[str]
) -> None:
    async with copies(kafka, settings, partitions=3) as stage:
        for partition in range(3):
            await stage.put(b"a", partition=partition)
            await stage.until_copied(b"a", partition=partition)
        stage.faults[1] = StreamViolation("a foreign record")
        await stage.put(b"b", partition=1)
        await stage.until_blocked("a foreign record")
        for partition in (0, 2):
            await stage.put(b"b", partition=partition)
            await stage.until_copied(b"a", b"b", partition=partition)
        assert await stage.copied(1) == [b"a"]
        assert sorted(stage.restored) == [0, 1, 2]
        stopped = {number for number, status in stage.status().items() if status["stopped"]}  # type: ignore[index]
        assert stopped == {"1"}
    logged_errors.clear()


async def test_a_partition_that_is_restored_again_holds_up_no_other(
    kafka: Kafka, settings: Settings
) -> None:
    async with copies(kafka, settings, partitions=3) as stage:
        for partition in range(3):
            await stage.put(b"a", partition=partition)
            await stage.until_copied(b"a", partition=partition)
        stage.away.clear()
        stage.faults[1] = Unavailable("what it asks is away")
        await stage.put(b"b", partition=1)
        await stage.until_blocked("what it asks is away")
        await stage.put(b"b", partition=0)
        await stage.until_copied(b"a", b"b", partition=0)
        assert await stage.copied(1) == [b"a"]
        stage.away.set()
        await stage.until_copied(b"a", b"b", partition=1)
        assert sorted(stage.restored) == [0, 1, 1, 2]


async def test_a_partition_that_cannot_be_restored_yet_holds_up_no_other(
    kafka: Kafka, settings: Settings
) -> None:
    async with copies(kafka, settings, partitions=3, away=True) as stage:
        await stage.put(b"a", partition=1)
        await stage.put(b"a", partition=0)
        await stage.until_copied(b"a", partition=0)
        assert await stage.copied(1) == []
        stage.away.set()
        await stage.until_copied(b"a", partition=1)


async def test_a_partition_whose_output_is_refused_leaves_its_lane_and_the_others_go_on(
    kafka: Kafka, settings: Settings, logged_errors: list[str]
) -> None:
    async with copies(kafka, settings, partitions=2) as stage:
        await stage.put(b"a", partition=0)
        await stage.until_copied(b"a", partition=0)
        stage.swells = 1
        await stage.put(b"a", partition=1)
        await stage.until_blocked("stopped: ")
        await stage.put(b"b", partition=0)
        await stage.until_copied(b"a", b"b", partition=0)
        assert await stage.copied(1) == []
    logged_errors.clear()


class HeldCommit:
    """Holds every commit while ``go_on`` is not set."""

    def __init__(self) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def reach(self, put: Awaitable[None]) -> None:
        """Returns when what is put has come to its commit, which is held from now on."""
        self.go_on.clear()
        await put
        await self.reached.wait()


@pytest.fixture
def held_commit(monkeypatch: pytest.MonkeyPatch) -> HeldCommit:
    commit, hold = TransactionalWriter._commit, HeldCommit()

    async def held(writer: TransactionalWriter) -> None:
        if not hold.go_on.is_set():
            hold.reached.set()
        await hold.go_on.wait()
        await commit(writer)

    monkeypatch.setattr(TransactionalWriter, "_commit", held)
    return hold


async def test_the_next_batch_is_decided_on_while_the_one_before_is_committed(
    kafka: Kafka, settings: Settings, held_commit: HeldCommit
) -> None:
    async with copies(kafka, settings) as stage:
        await held_commit.reach(stage.put(b"a"))
        await stage.put(b"b")
        await stage.until_given(0, 1)
        assert await stage.copied() == []
        assert stage.committed == []
        held_commit.go_on.set()
        await stage.until_copied(b"a", b"b")


async def test_what_was_decided_on_top_of_a_failed_commit_is_decided_again(
    kafka: Kafka, settings: Settings, held_commit: HeldCommit
) -> None:
    async with copies(kafka, settings) as stage:
        await held_commit.reach(stage.put(b"a"))
        await stage.put(b"b")
        await stage.until_given(0, 1)
        thief = await stage.thief()
        held_commit.go_on.set()
        await stage.until_copied(b"a", b"b")
        assert stage.restored == [0, 0]
        await thief.discard()


async def test_what_fails_while_a_partition_is_restored_is_raised_once_it_is(
    kafka: Kafka, settings: Settings
) -> None:
    async with copies(kafka, settings) as stage:
        await stage.put(b"a")
        await stage.until_copied(b"a")
        stage.fault_of_restore = Unavailable("what was restored has moved")
        thief = await stage.thief()
        await stage.put(b"b")
        await stage.until_copied(b"a", b"b")
        assert stage.restored == [0, 0, 0]
        await thief.discard()


async def test_what_a_partition_has_decided_is_forgotten_when_it_is_restored_again(
    kafka: Kafka, settings: Settings, held_commit: HeldCommit
) -> None:
    async with copies(kafka, settings, partitions=2) as stage:
        await stage.put(b"a", partition=1)
        await stage.until_copied(b"a", partition=1)
        await held_commit.reach(stage.put(b"a", partition=0))
        await stage.put(b"b", partition=1)
        await stage.until_given(0, 0, 1)
        stage.fails[1][-1](Unavailable("what it asks is away"))
        await stage.until_blocked("what it asks is away")
        held_commit.go_on.set()
        await stage.until_copied(b"a", b"b", partition=1)
        await stage.put(b"c", partition=1)
        await stage.until_copied(b"a", b"b", b"c", partition=1)


async def test_a_partition_is_restored_again_behind_what_is_being_written_of_it(
    kafka: Kafka, settings: Settings, held_commit: HeldCommit
) -> None:
    async with copies(kafka, settings) as stage:
        await held_commit.reach(stage.put(b"a"))
        stage.fails[0][-1](Unavailable("what it asks is away"))
        await stage.until_blocked("what it asks is away")
        # Whoever did not wait would read the output without what is being written.
        await asyncio.sleep(10 * lane_partition.FIRST_PAUSE_S)
        held_commit.go_on.set()
        await stage.put(b"b")
        await stage.until_copied(b"a", b"b")


async def test_a_stretch_is_processed_to_its_end_once_and_nothing_behind_it(
    kafka: Kafka, settings: Settings
) -> None:
    """Also if nothing comes behind it, or only markers stand before it."""
    one = msgspec.structs.replace(settings, partitions=1)
    await install(kafka, one)
    topic = one.topics.lock_facts
    for value in (b"a", b"b"):
        await write_raw(kafka, topic, 0, b"7", value)
    await leave_aborted(kafka, topic, b"aborted")
    end = await end_of(kafka, topic, 0)
    async with copies(kafka, settings, end=end) as stage:
        await stage.until_copied(b"a", b"b", b"the end")
        await stage.put(b"behind")
    async with copies(kafka, settings, end=end) as stage:

        async def has_finished() -> bool:
            return bool(stage.finished)

        await eventually(has_finished)
        assert await stage.copied() == [b"a", b"b", b"the end"]
        assert stage.given == []
        (lag,) = stage.lag()
        assert lag.records == 0


async def test_an_end_whose_transaction_fails_is_written_by_the_next_attempt(
    kafka: Kafka, settings: Settings
) -> None:
    one = msgspec.structs.replace(settings, partitions=1)
    await install(kafka, one)
    await write_raw(kafka, one.topics.lock_facts, 0, b"7", b"a")
    async with copies(kafka, settings, end=2) as stage:
        await stage.until_copied(b"a")
        thief = await stage.thief()
        await stage.put(b"b", b"behind")
        await stage.until_copied(b"a", b"b", b"the end")
        assert len(stage.finished) >= 1
        await thief.discard()


@pytest.mark.parametrize(
    ("fault", "stops"), [(Unavailable("away"), False), (ZeroDivisionError("unforeseen"), True)]
)
async def test_an_end_that_can_not_be_decided_on_is_tried_again_or_stops_the_partition(
    kafka: Kafka, settings: Settings, fault: Exception, stops: bool, logged_errors: list[str]
) -> None:
    one = msgspec.structs.replace(settings, partitions=1)
    await install(kafka, one)
    await write_raw(kafka, one.topics.lock_facts, 0, b"7", b"a")
    async with copies(kafka, settings, end=2) as stage:
        await stage.until_copied(b"a")
        stage.fault_of_end = fault
        await stage.put(b"b")
        if stops:
            await stage.until_blocked("offset 2, its end can't be processed")
            assert await stage.copied() == [b"a", b"b"]
        else:
            await stage.until_copied(b"a", b"b", b"the end")
    logged_errors.clear()
