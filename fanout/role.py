"""Puts the fan-out together: a stage for each active partner and each running replay."""

import asyncio
import logging
from collections.abc import Iterator
from functools import partial

import msgspec

from eventlog.clients.offsets_client import OffsetsClient
from eventlog.kafka import Kafka
from eventlog.registry import Registry, registry_tail
from eventlog.stage.lane_count import settle_lanes
from eventlog.stage.metrics import StageMetrics, StageSnapshot
from eventlog.stage.setup import Limits, Rest, StageName, StageSetup
from eventlog.stage.stage import Stage
from eventlog.stage.stage_partition import Fail, StagePartition
from eventlog.stage.traces import StageTraces
from eventlog.tail import Tail
from eventlog.topic_setup import ensure_installation, ensure_topics
from fanout.partition import FanoutPartition
from fanout.position_key import ensure_position_key
from fanout.positions import Positions
from fanout.reading_metrics import ReadingMetrics
from fanout.registrations import Registrations
from fanout.replay_ends import end_replay
from fanout.replay_partition import ReplayPartition
from fanout.served import Served, is_served_alike, served_by
from runtime.backoff import Backoff
from runtime.errors import KafkaRefused, StageStopped, Unavailable
from runtime.health import serve_health
from runtime.process import run_beside, stand_back
from runtime.readiness import Readiness
from runtime.settings import Settings
from runtime.tracing import Tracing
from runtime.tracing_setup import tracing_of
from runtime.waiting import first_of
from schemas.registry import Partner, Replay

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
STOP_S = 30.0
"""How long a stage may take to stop by itself."""
REST = Rest(times=2.0, least_s=0.01)
"""Commands go first: CPU spent on a partner's transactions is CPU that they do not get."""


class _Running(msgspec.Struct):
    """``ended``: set when a partition of a replay has come to its end."""

    served: Served
    stop: asyncio.Event
    ended: asyncio.Event
    task: asyncio.Task[None] | None = None
    stage: Stage | None = None


class Fanout:
    """Starts and stops stages as the registry changes. They share only the process: one that fails
    is tried again by itself, and delays nobody."""

    def __init__(
        self,
        kafka: Kafka,
        settings: Settings,
        registry: Registry,
        tail: Tail,
        readiness: Readiness,
        tracing: Tracing,
    ) -> None:
        self.metrics = StageMetrics(readiness, self._snapshots)
        self._kafka = kafka
        self._settings = settings
        self._registry = registry
        self._registrations = Registrations(
            registry, tail, settings.topics.registry, settings.lanes
        )
        self._readiness = readiness
        self._tracing = tracing
        self._limits = Limits()
        self._running: dict[str, _Running] = {}
        self._look = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until ``stop`` is set, then drains every partner."""
        async with asyncio.TaskGroup() as stages:
            watching = stages.create_task(self._watch())
            following = stages.create_task(self._follow(stages))
            try:
                await stop.wait()
            finally:
                watching.cancel()
                following.cancel()
                # After one's error too: a stage whose client loses the cancellation would go on.
                for running in self._running.values():
                    running.stop.set()

    async def _watch(self) -> None:
        while True:
            await self._registry.changed()
            self._look.set()

    async def _follow(self, stages: asyncio.TaskGroup) -> None:
        """Starts a stage when the one before it of the same name has ended. They end side by side,
        and meanwhile the others' changes are followed."""
        while True:
            await self._look.wait()
            self._look.clear()
            wanted = served_by(
                self._registry, self._settings.topics, self._settings.retentions.partner_ms
            )
            for name, running in self._running.items():
                now = wanted.get(name)
                is_right = now is not None and is_served_alike(running.served.entry, now.entry)
                if not is_right and not running.stop.is_set():
                    log.info("%s: stopping", running.served.label)
                    if now is None and running.stage is not None:
                        running.stage.retire()
                    running.stop.set()
                    stages.create_task(self._see_it_end(running))
            for name, served in wanted.items():
                if name not in self._running:
                    log.info("%s: starting", served.label)
                    running = _Running(served, asyncio.Event(), asyncio.Event())
                    running.task = stages.create_task(self._serve(running))
                    self._running[name] = running
                    if isinstance(served.entry, Replay):
                        stages.create_task(self._conclude(running, served.entry))

    async def _serve(self, running: _Running) -> None:
        try:
            await self._keep_running(running)
        finally:
            del self._running[running.served.name]
            self._look.set()

    async def _see_it_end(self, running: _Running) -> None:
        """Waits for a stage to end, or abandons it. That does no harm: the next owner of its
        partitions fences it."""
        assert running.task is not None
        await asyncio.wait((running.task,), timeout=STOP_S)
        if not running.task.done():
            log.warning("%s: abandoned, it did not stop in time", running.served.label)
            running.task.cancel()

    async def _conclude(self, running: _Running, replay: Replay) -> None:
        """Notes that a replay has ended, when it has. Then the registry says so, and it stops."""
        label = f"{running.served.label}: its end"
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while not running.stop.is_set():
            await first_of(running.ended, running.stop)
            running.ended.clear()
            try:
                if await end_replay(self._kafka, self._settings.topics, replay):
                    break
            except (Unavailable, KafkaRefused, StageStopped) as error:
                self._readiness.block(label, str(error))
                await first_of(running.stop, timeout_s=backoff.next())
                running.ended.set()
        self._readiness.clear(label)

    async def _keep_running(self, running: _Running) -> None:
        served = running.served
        label = served.label
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while not running.stop.is_set():
            running.stage = self._make_stage(served, running.ended)
            try:
                await ensure_topics(self._kafka, self._settings, [served.topic])
                await running.stage.run(running.stop)
            except KafkaRefused as error:
                self._readiness.block(label, f"stopped: {error}; then restart this role")
                log.error("%s stopped: %s", label, error)
                await running.stop.wait()
                continue
            except (Unavailable, StageStopped) as error:
                self._readiness.block(label, str(error))
            except ExceptionGroup as group:
                ours, others = group.split((Unavailable, StageStopped))
                if others is not None:
                    raise
                self._readiness.block(label, str(ours))
            else:
                backoff.reset()
                continue
            self.metrics.of(served.stage, served.partner).restarted()
            await first_of(running.stop, timeout_s=backoff.next())
        self._readiness.clear(label)

    def _make_stage(self, served: Served, ended: asyncio.Event) -> Stage:
        topics, entry = self._settings.topics, served.entry
        name = StageName(served.label, served.group, topics.lock_events)

        async def confirm(offsets: OffsetsClient) -> None:
            # Whoever removes the partner and adds another under its id has to take the fence over
            # first, so an entry that is right now stays so for what we write.
            end = (await offsets.high_watermarks(topics.registry, [0]))[0]
            await self._registrations.confirm(entry, end)

        def make_partition(partition: int, fail: Fail) -> StagePartition:
            positions = Positions(self._registry.position_key)
            if isinstance(entry, Replay):
                return ReplayPartition(topics, entry, partition, positions, ended.set)
            return FanoutPartition(topics, entry, partition, positions)

        template = topics.partner_events("{partnerId}")
        if isinstance(entry, Replay):
            template = topics.partner_replay("{partnerId}", "{replay}")
        traces = StageTraces(self._tracing, name.group, name.input_topic, template)
        counts = self.metrics.of(served.stage, served.partner)
        setup = StageSetup(
            name,
            self._settings.lane_sets,
            make_partition,
            confirm,
            REST,
            self._readiness,
            counts,
            traces,
            self._limits,
        )
        return Stage(self._kafka, setup, self._settings.instance_id or None)

    def _snapshots(self) -> Iterator[StageSnapshot]:
        for running in list(self._running.values()):
            if running.stage is not None:
                served = running.served
                yield StageSnapshot(served.stage, served.partner, running.stage.lag())

    def status(self) -> dict[str, object]:
        """Returns the partitions of each partner and replay with their positions and lag."""
        return {
            name: running.stage.status() if running.stage is not None else {}
            for name, running in sorted(self._running.items())
        }


def live_partners(registry: Registry) -> list[Partner]:
    """Returns the partners that are not removed. One that is paused may have something to read."""
    return [entry for entry in registry.all(Partner) if entry.status != "removed"]


async def run_fanout(settings: Settings, stop: asyncio.Event) -> None:
    """Runs until ``stop`` is set: then what is under way is committed.

    Raises:
        Unavailable: Kafka can't be reached at the start.
        PartitionsChanged: a topic's partition count is not the installation's.
    """
    async with tracing_of(settings, "lockstream-fanout") as tracing:
        await _run(settings, stop, tracing)


async def _run(settings: Settings, stop: asyncio.Event, tracing: Tracing) -> None:
    kafka = Kafka(settings, "lockstream-fanout")
    await ensure_installation(kafka, settings)
    await settle_lanes(kafka, settings)
    await ensure_position_key(kafka, settings.topics.registry)
    readiness = Readiness()
    registry = Registry()
    tail = registry_tail(kafka, settings.topics.registry, registry)
    fanout = Fanout(kafka, settings, registry, tail, readiness, tracing)
    reading = ReadingMetrics(kafka, settings.topics, lambda: live_partners(registry))
    fanout.metrics.registry.register(reading)

    async def ask_what_is_read(ended: asyncio.Event) -> None:
        await first_of(tail.caught_up, ended)
        await reading.run(ended)

    async def let_commands_go_first(ended: asyncio.Event) -> None:
        # Not before: while it starts, it is what partners wait for.
        await first_of(tail.caught_up, ended)
        if not ended.is_set():
            stand_back(settings.fanout_niceness)

    serve_pages = partial(
        serve_health,
        settings.health_host,
        settings.fanout_health_port,
        readiness,
        lambda: {"partners": fanout.status()},
        fanout.metrics,
        port_variable="LOCKSTREAM_FANOUT_HEALTH_PORT",
    )
    log.info("fanout started")
    await run_beside(
        partial(fanout.run, stop), tail.run, serve_pages, let_commands_go_first, ask_what_is_read
    )
