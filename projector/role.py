"""Puts the projector together."""

import asyncio
import logging
from functools import partial

from eventlog.clients.offsets_client import OffsetsClient
from eventlog.kafka import Kafka
from eventlog.registry import read_registry
from eventlog.stage.lane_count import check_lanes, settle_lanes
from eventlog.stage.metrics import StageSnapshot
from eventlog.stage.setup import Limits, Rest, StageName, StageSetup
from eventlog.stage.stage import Stage
from eventlog.stage.traces import StageTraces
from eventlog.topic_setup import ensure_installation
from projector.fold_queue import FoldQueue
from projector.lock_uuids import LockUuids
from projector.metrics import ProjectorMetrics
from projector.partition import Projector
from read_model.opening import open_read_model
from read_model.store import ReadModel
from runtime.health import serve_health
from runtime.process import run_beside
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import Tracing
from runtime.tracing_setup import tracing_of

log = logging.getLogger(__name__)

REST = Rest(times=1.0)
"""A rest as long as a transaction took: the callers that it has answered can be in the next one."""


async def run_projector(settings: Settings, stop: asyncio.Event) -> None:
    """Runs until ``stop`` is set: then what is under way is committed and folded in.

    Raises:
        Unavailable: Kafka or the database can't be reached at the start.
        StageStopped: going on would break a promise.
    """
    async with tracing_of(settings, "lockstream-projector") as tracing:
        kafka = Kafka(settings, "lockstream-projector")
        await ensure_installation(kafka, settings)
        await settle_lanes(kafka, settings)
        read_model = open_read_model(settings)
        try:
            await read_model.prepare()
            await _run(settings, stop, kafka, read_model, tracing)
        finally:
            await read_model.close()


async def _run(
    settings: Settings, stop: asyncio.Event, kafka: Kafka, read_model: ReadModel, tracing: Tracing
) -> None:
    readiness = Readiness()
    metrics = ProjectorMetrics(readiness, lambda: [StageSnapshot("projector", "", stage.lag())])
    fold_queue = FoldQueue(read_model, readiness, metrics)
    metrics.show(
        "lockstream_unfolded_records",
        "Events and parked facts committed and not yet folded into the read model",
        lambda: fold_queue.size,
    )
    projector = Projector(settings.topics, read_model, fold_queue, LockUuids(), metrics)
    name = StageName(
        label="projector",
        group=settings.topics.projector_group,
        input_topic=settings.topics.lock_facts,
    )

    async def confirm(offsets: OffsetsClient) -> None:
        check_lanes(await read_registry(kafka, settings.topics.registry), settings.lanes)

    setup = StageSetup(
        name,
        settings.lane_sets,
        projector.make_partition,
        confirm,
        REST,
        readiness,
        metrics.of("projector"),
        StageTraces(tracing, name.group, name.input_topic),
        Limits(),
    )
    stage = Stage(kafka, setup, settings.instance_id or None)
    serve_pages = partial(
        serve_health,
        settings.health_host,
        settings.projector_health_port,
        readiness,
        lambda: {"partitions": stage.status(), "unfolded": fold_queue.size},
        metrics,
        port_variable="LOCKSTREAM_PROJECTOR_HEALTH_PORT",
    )
    log.info("projector started")
    await run_beside(partial(stage.run, stop), fold_queue.run, serve_pages)
