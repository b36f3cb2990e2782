"""An exactly-once stage is a consumer group whose members are the single writers of the lanes that
they are assigned. The projector and every partner's fan-out are stages.

Group membership only shares out the work: what makes a late or paused process harmless is the fence
of each lane, and that restoring follows it (``lane``).
"""

import asyncio
import logging
import time
from collections.abc import Collection

import msgspec

from eventlog.checkpoints import Checkpoints
from eventlog.clients.client import REQUEST_TIMEOUT_S
from eventlog.clients.lane_assignor import LaneAssignor
from eventlog.kafka import Kafka
from eventlog.kafka_errors import KAFKA_ERRORS, errors, kafka_errors, ours
from eventlog.records import TopicPartition
from eventlog.stage.lane import Lane
from eventlog.stage.metrics import PartitionLag
from eventlog.stage.setup import StageClients, StageSetup
from runtime.errors import KafkaRefused
from runtime.process import first_leaf
from runtime.waiting import first_of, is_cancelled, within

log = logging.getLogger(__name__)

POLL_EVERY_S = 0.5
POLL_DEADLINE_S = 1.0
DRAIN_S = 6.0
"""Seconds that revoked lanes may take to finish what they have decided."""
CLOSE_S = 3.0
CHECKPOINT_EVERY_S = 5.0


class _Owned(msgspec.Struct, frozen=True):
    lane: Lane
    task: asyncio.Task[None]


class Stage:
    """Runs one stage in this process, on whatever lanes the group gives it."""

    def __init__(self, kafka: Kafka, setup: StageSetup, instance_id: str | None = None) -> None:
        self._kafka = kafka
        self._setup = setup
        self._instance_id = instance_id
        self._clients: StageClients  # Made by ``run``, which also closes them.
        self._owned: dict[int, _Owned] = {}
        self._leaving = False
        self._retired = False
        self._workers = asyncio.TaskGroup()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until ``stop`` is set, then finishes what is under way and leaves the group. What
        Kafka refuses for good stops it, with an error in the log: asking again would be refused
        again.

        Raises:
            KafkaUnavailable: the broker can't be reached at the start, or the group turns us away.
        """
        label = self._setup.name.label
        refusal: str | None = None
        try:
            await self._work(stop)
        except* KafkaRefused as refused:
            refusal = str(first_leaf(refused))
        if refusal is not None:
            self._setup.readiness.block(label, f"stopped: {refusal}; then restart this role")
            log.error("%s stopped: %s", label, refusal)
            await stop.wait()

    def retire(self) -> None:
        """Lets it leave its group at once when it is stopped next, and not when its session runs
        out."""
        self._retired = True

    async def _work(self, stop: asyncio.Event) -> None:
        name = self._setup.name
        self._clients = clients = self._make_clients()
        self._setup.readiness.block(name.label, "joining its group")
        try:
            await clients.offsets.start("connecting to Kafka")
            with kafka_errors(f"subscribing to {name.input_topic}"):
                await within(
                    clients.offsets.connections.require_topics([name.input_topic]),
                    REQUEST_TIMEOUT_S,
                )
            clients.consumer.subscribe(name.input_topic, self._assigned, self._revoked)
            async with self._workers as workers:
                await clients.consumer.start(f"joining group {name.group}")
                checkpoints = workers.create_task(self._write_checkpoints())
                try:
                    await self._stay_member(stop)
                finally:
                    self._leaving = True
                    checkpoints.cancel()
                    await self._revoked(())
        finally:
            if self._retired:
                clients.consumer.leave_when_stopped()
            await clients.consumer.stop()
            await clients.offsets.stop()
            clients.taking.close()
            if clients.closing:
                await asyncio.wait(clients.closing, timeout=CLOSE_S)

    def _make_clients(self) -> StageClients:
        setup = self._setup
        group = setup.name.group
        assignor = LaneAssignor(group, setup.lanes)
        consumer = self._kafka.group_consumer(group, self._instance_id, assignor)
        return StageClients(
            self._kafka,
            consumer,
            self._kafka.offsets_client(setup.name.input_topic),
            Checkpoints(group, consumer),
            set(),
            setup.limits.taking.share(),
        )

    def status(self) -> dict[str, object]:
        """Returns the position, the last known high watermark and the lag in records of each
        assigned partition."""
        found = {p: status for lane in self._lanes() for p, status in lane.status().items()}
        return {str(partition): found[partition] for partition in sorted(found)}

    def lag(self) -> list[PartitionLag]:
        """Returns how far each assigned partition is behind."""
        now_ms = time.time() * 1000
        found = [lag for lane in self._lanes() for lag in lane.lag(now_ms)]
        return sorted(found, key=lambda lag: lag.partition)

    def _lanes(self) -> list[Lane]:
        return [owned.lane for owned in self._owned.values()]

    # -- membership ----------------------------------------------------------------------------

    async def _stay_member(self, stop: asyncio.Event) -> None:
        """Polls, and learns nothing by it: the lanes read for themselves. A member that does not
        poll is taken for dead."""
        while not stop.is_set() and not is_cancelled():
            self._clients.consumer.check()
            await self._poll()
            await first_of(stop, timeout_s=POLL_EVERY_S)

    async def _poll(self) -> None:
        try:
            async with asyncio.timeout(POLL_DEADLINE_S):
                await self._clients.consumer.poll()
        except TimeoutError:
            # During a rebalance it waits for an assignment, for as long as that takes.
            return
        except errors.NoOffsetForPartitionError:
            # A position is of no use to a consumer that fetches nothing.
            return
        except KAFKA_ERRORS as error:
            raise ours(error, f"group {self._setup.name.group}") from error

    # -- assignment ----------------------------------------------------------------------------

    async def _assigned(self, assigned: Collection[TopicPartition]) -> None:
        # First of all: this consumer is to fetch nothing.
        self._clients.consumer.pause(*assigned)
        for tp in assigned:
            # Any position: without one it would look for one again and again.
            self._clients.consumer.seek(tp, 0)
        if self._leaving:
            return
        self._setup.readiness.clear(self._setup.name.label)
        for number in sorted({self._setup.lanes.lane_of(tp.partition) for tp in assigned}):
            lane = Lane(number, self._setup, self._clients)
            self._owned[number] = _Owned(lane, self._workers.create_task(lane.run()))

    async def _revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Ends the work on all lanes: by eager rebalancing, the group revokes all or none.
        Transactions under way are finished if they can be in time, and abandoned otherwise."""
        leaving = list(self._owned.values())
        self._owned.clear()
        if not leaving:
            return
        for owned in leaving:
            owned.lane.revoke()
        _, late = await asyncio.wait([owned.task for owned in leaving], timeout=DRAIN_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=DRAIN_S)
        await self._write_checkpoints_of([owned.lane for owned in leaving])

    # -- checkpoints ---------------------------------------------------------------------------

    async def _write_checkpoints(self) -> None:
        while not is_cancelled():
            await asyncio.sleep(CHECKPOINT_EVERY_S)
            await self._write_checkpoints_of(self._lanes())

    async def _write_checkpoints_of(self, lanes: Collection[Lane]) -> None:
        await self._clients.checkpoints.write(
            {tp: made for lane in lanes for tp, made in lane.checkpoints().items()}
        )
