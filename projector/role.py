"""The projector's composition root."""

import asyncio
import logging

from eventlog.kafka import Kafka
from eventlog.stage.metrics import StageSnapshot
from eventlog.stage.setup import Limits, StageName, StageSetup
from eventlog.stage.stage import Stage
from eventlog.stage.stage_partition import Fail, StagePartition
from eventlog.stage.traces import StageTraces
from eventlog.topic_setup import ensure_installation
from projector.fold_queue import FoldQueue
from projector.lock_uuids import LockUuids
from projector.metrics import ProjectorMetrics
from projector.partition import ProjectorPartition
from read_model.database import Database, read_model_url
from read_model.store import ReadModel
from runtime.health import serve_health
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import Tracing
from runtime.tracing_setup import tracing_of

log = logging.getLogger(__name__)

REST_TIMES = 1.0
"""As long as the group took: long enough that the callers it has answered are in the next one."""


async def run_projector(settings: Settings, stop: asyncio.Event) -> None:
    """Runs until ``stop`` is set: then what is under way is committed and folded in.

    Raises:
        Unavailable: Kafka or the database can't be reached at the start.
        StageStopped: going on would break a promise.
    """
    async with tracing_of(settings, "lockstream-projector") as tracing:
        await _run(settings, stop, tracing)


async def _run(settings: Settings, stop: asyncio.Event, tracing: Tracing) -> None:
    kafka = Kafka(settings, "lockstream-projector")
    await ensure_installation(kafka, settings)
    read_model = ReadModel(
        Database(read_model_url(settings), settings.read_model_timeout), settings.partitions
    )
    await read_model.prepare()
    readiness = Readiness()
    metrics = ProjectorMetrics(readiness, lambda: [StageSnapshot("projector", "", stage.lag())])
    fold_queue = FoldQueue(read_model, readiness, metrics)
    metrics.show(
        "lockstream_unfolded_records",
        "Events and parked facts committed and not yet folded into the read model",
        lambda: fold_queue.size,
    )

    lock_uuids = LockUuids()

    def make_partition(partition: int, fail: Fail) -> StagePartition:
        return ProjectorPartition(
            settings.topics,
            settings.partitions,
            partition,
            read_model,
            fold_queue,
            lock_uuids,
            fail,
            metrics,
        )

    name = StageName(
        label="projector",
        group=settings.topics.group("projector"),
        transactional_prefix=f"projector.{settings.topics.lock_facts}",
        input_topic=settings.topics.lock_facts,
    )
    traces = StageTraces(tracing, name.group, name.input_topic)
    setup = StageSetup(
        name,
        make_partition,
        REST_TIMES,
        readiness,
        metrics.of("projector"),
        traces,
        Limits(),
    )
    stage = Stage(kafka, setup, settings.instance_id or None)
    stage_ended = asyncio.Event()

    async def work() -> None:
        await stage.run(stop)
        stage_ended.set()

    def details() -> dict[str, object]:
        return {"partitions": stage.status(), "unfolded": fold_queue.size}

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fold_queue.run(stage_ended))
            tasks.create_task(
                serve_health(
                    settings.health_host,
                    settings.projector_health_port,
                    readiness,
                    details,
                    metrics,
                    stage_ended,
                    "LOCKSTREAM_PROJECTOR_HEALTH_PORT",
                )
            )
            tasks.create_task(work())
            log.info("projector started")
    finally:
        await read_model.close()
