"""No two locks get one UUID, whichever partitions they are in. On both databases."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

import pytest

from eventlog.clients.offsets_client import OffsetsClient
from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader
from eventlog.records import Output, Record
from eventlog.stage.stage_partition import OutputLog
from projector.fold_queue import FoldQueue
from projector.lock_uuids import LockUuids
from projector.metrics import ProjectorMetrics
from projector.partition import Projector
from read_model.fold import CommittedEvent, Stretch
from read_model.store import ReadModel
from runtime.readiness import Readiness
from runtime.settings import Settings
from schemas.lock_events import encode_event
from schemas.lock_facts import LockCreated, encode_fact
from schemas.parked_facts import ParkedHeaders
from schemas.topics import lock_key, partition_of
from tests.examples_of import LOCK_UUID, created_event, lock_created
from tests.integration.roles import install


class Process:
    """The partitions of one process, which fold nothing in and commit nothing."""

    def __init__(
        self, settings: Settings, model: ReadModel, reader: LogReader, offsets: OffsetsClient
    ) -> None:
        self._settings, self._reader, self._offsets = settings, reader, offsets
        readiness = Readiness()
        metrics = ProjectorMetrics(readiness, lambda: ())
        queue, uuids = FoldQueue(model, readiness, metrics), LockUuids()
        projector = Projector(settings.topics, model, queue, uuids, metrics)
        self.partitions = [
            projector.make_partition(number, lambda error: pytest.fail(str(error)))
            for number in range(settings.partitions)
        ]
        self._fact_offsets = count()

    async def restore(self, number: int) -> None:
        await self.partitions[number].restore(OutputLog(self._reader, self._offsets, number, None))

    async def decide(self, *facts: LockCreated) -> Sequence[Output]:
        """What becomes of facts of one partition."""
        number = partition_of(facts[0].lock_id, self._settings.partitions)
        records = [
            Record(
                number,
                next(self._fact_offsets),
                0,
                lock_key(fact.lock_id),
                encode_fact(fact),
                (),
            )
            for fact in facts
        ]
        return (await self.partitions[number].process(records)).outputs


@asynccontextmanager
async def projector(kafka: Kafka, settings: Settings, model: ReadModel) -> AsyncIterator[Process]:
    await install(kafka, settings)
    async with LogReader.open(kafka) as reader, kafka.offsets_client() as offsets:
        made = Process(settings, model, reader, offsets)
        for number in range(settings.partitions):
            await made.restore(number)
        yield made


def lock_in(settings: Settings, number: int) -> int:
    return next(n for n in range(8, 100) if partition_of(n, settings.partitions) == number)


def elsewhere(settings: Settings) -> int:
    """A lock in another partition than lock 7."""
    home = partition_of(7, settings.partitions)
    return lock_in(settings, (home + 1) % settings.partitions)


def refused(settings: Settings, outputs: Sequence[Output]) -> ParkedHeaders:
    (output,) = outputs
    assert output.topic == settings.topics.parked_facts
    return ParkedHeaders.from_kafka(output.headers)


def recorded(settings: Settings, outputs: Sequence[Output]) -> bool:
    return [output.topic for output in outputs] == [settings.topics.lock_events]


async def test_the_uuid_of_a_lock_that_the_read_model_holds_is_taken(
    kafka: Kafka, settings: Settings, read_model: ReadModel
) -> None:
    event = created_event()
    async with projector(kafka, settings, read_model) as process:
        held = CommittedEvent(0, 0, event, encode_event(event))
        home = partition_of(7, settings.partitions)
        await read_model.apply([Stretch(home, 0, 1, events=[held])])
        twin = lock_created(elsewhere(settings), lock_uuid=LOCK_UUID)
        parked = refused(settings, await process.decide(twin))
        assert (parked.reason, parked.detail) == (
            "uuid-taken",
            f"lock 7 has the uuid {LOCK_UUID}",
        )
        assert recorded(settings, await process.decide(lock_created(elsewhere(settings))))


async def test_a_uuid_is_given_once_in_a_batch_and_across_the_partitions_of_a_process(
    kafka: Kafka, settings: Settings, read_model: ReadModel
) -> None:
    async with projector(kafka, settings, read_model) as process:
        near = lock_in(settings, partition_of(7, settings.partitions))
        outputs = await process.decide(lock_created(), lock_created(near, lock_uuid=LOCK_UUID))
        assert recorded(settings, outputs[:1])
        assert refused(settings, outputs[1:]).reason == "uuid-taken"
        twin = lock_created(elsewhere(settings), lock_uuid=LOCK_UUID)
        assert refused(settings, await process.decide(twin)).reason == "uuid-taken"


async def test_what_was_never_committed_holds_no_uuid(
    kafka: Kafka, settings: Settings, read_model: ReadModel
) -> None:
    async with projector(kafka, settings, read_model) as process:
        assert recorded(settings, await process.decide(lock_created()))
        # Its transaction failed, and the partition begins again from what the log holds.
        await process.restore(partition_of(7, settings.partitions))
        twin = lock_created(elsewhere(settings), lock_uuid=LOCK_UUID)
        assert recorded(settings, await process.decide(twin))
