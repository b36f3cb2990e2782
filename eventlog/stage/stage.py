"""An exactly-once stage is a consumer group whose members are the single writers of the partitions
that they are assigned. The projector and every partner's fan-out are stages.

Group membership only shares out the work: what makes a late or paused process harmless is the fence
of each partition, and that restoring follows it (``partition_owner``).
"""

import asyncio
import logging
import time
from collections.abc import Collection

import msgspec

from eventlog.aiokafka_internals import lost_positions
from eventlog.checkpoints import Checkpoints
from eventlog.clients.client import REQUEST_TIMEOUT_S
from eventlog.kafka import Kafka
from eventlog.kafka_errors import KAFKA_ERRORS, errors, kafka_errors, ours
from eventlog.records import Fetched, TopicPartition
from eventlog.stage.group_commit import GroupCommit
from eventlog.stage.metrics import PartitionLag
from eventlog.stage.partition_owner import PartitionOwner
from eventlog.stage.setup import StageClients, StageSetup
from runtime.errors import KafkaRefused
from runtime.process import first_leaf
from runtime.waiting import is_cancelled, within

log = logging.getLogger(__name__)

POLL_MS = 200
POLL_DEADLINE_S = 1.0
NO_ROOM_S = 0.08
"""Seconds without room after which fetching is paused. Until then the client keeps what it has
fetched, and fetches no more: if room comes in that time, the records are there already."""
NO_POLL_S = 0.5
"""Seconds without room after which the stage polls all the same: its group takes a member that does
not poll for dead. With all partitions paused, nothing comes."""
DRAIN_S = 6.0
"""Seconds that a revoked partition may take to finish its transaction."""
CLOSE_S = 3.0
CHECKPOINT_EVERY_S = 5.0


class _Owned(msgspec.Struct, frozen=True):
    owner: PartitionOwner
    task: asyncio.Task[None]


class Stage:
    """Runs one stage in this process, on whatever partitions the group gives it."""

    def __init__(self, kafka: Kafka, setup: StageSetup, instance_id: str | None = None) -> None:
        self._kafka = kafka
        self._setup = setup
        self._instance_id = instance_id
        self._clients: StageClients  # Made by ``run``, which also closes them.
        self._owned: dict[int, _Owned] = {}
        self._leaving = False
        self._retired = False
        self._held = False
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
                    await self._pump(stop)
                finally:
                    self._leaving = True
                    checkpoints.cancel()
                    await self._revoked(())
        finally:
            if self._retired:
                clients.consumer.leave_when_stopped()
            await clients.consumer.stop()
            await clients.offsets.stop()
            clients.memory.close()
            clients.taking.close()
            if clients.closing:
                await asyncio.wait(clients.closing, timeout=CLOSE_S)

    def _make_clients(self) -> StageClients:
        group = self._setup.name.group
        consumer = self._kafka.group_consumer(group, self._instance_id)
        checkpoints = Checkpoints(group, consumer)
        group_commit = GroupCommit(self._setup.rest_times)
        offsets = self._kafka.offsets_client(self._setup.name.input_topic)
        return StageClients(
            self._kafka,
            consumer,
            offsets,
            checkpoints,
            set(),
            group_commit,
            self._setup.limits.memory.share(),
            self._setup.limits.taking.share(),
        )

    def status(self) -> dict[str, object]:
        """Returns the position, the last known high watermark and the lag in records of each
        assigned partition."""
        return {str(owner.tp.partition): owner.status() for owner in self._owners()}

    def lag(self) -> list[PartitionLag]:
        """Returns how far each assigned partition is behind."""
        now_ms = time.time() * 1000
        return [owner.lag(now_ms) for owner in self._owners()]

    def _owners(self) -> list[PartitionOwner]:
        return [owned.owner for _, owned in sorted(self._owned.items())]

    # -- the fetch loop ------------------------------------------------------------------------

    async def _pump(self, stop: asyncio.Event) -> None:
        while not stop.is_set() and not is_cancelled():
            self._clients.consumer.check()
            await self._wait_for_room()
            for tp, messages in (await self._fetch()).items():
                if (owned := self._owned.get(tp.partition)) is not None:
                    owned.owner.accept(messages)

    async def _wait_for_room(self) -> None:
        """Pauses fetching while there is no room. What the client has fetched meanwhile stays with
        it, as it came: as objects it would take three times as much."""
        memory = self._clients.memory
        if not await memory.wait(NO_ROOM_S):
            self._hold(True)
            if not await memory.wait(NO_POLL_S):
                return
        if self._held:
            self._hold(False)

    def _hold(self, held: bool) -> None:
        self._held = held
        for owned in self._owned.values():
            owned.owner.hold(held)

    async def _fetch(self) -> Fetched:
        """Polls once. Takes out everything that was fetched: what is left would hold up the fetches
        of all other partitions on that broker."""
        try:
            async with asyncio.timeout(POLL_DEADLINE_S):
                return await self._clients.consumer.fetch(POLL_MS)
        except TimeoutError:
            # During a rebalance it waits for an assignment, for as long as that takes. It takes
            # records out only after its last wait, so none is lost here.
            return {}
        except errors.NoOffsetForPartitionError:
            # A new partition whose owner has not sought to its position yet.
            return {}
        except errors.OffsetOutOfRangeError as error:
            for tp in lost_positions(error):
                if (owned := self._owned.get(tp.partition)) is not None:
                    owned.owner.lose_position()
            return {}
        except KAFKA_ERRORS as error:
            raise ours(error, f"group {self._setup.name.group}") from error

    # -- assignment ----------------------------------------------------------------------------

    async def _assigned(self, assigned: Collection[TopicPartition]) -> None:
        # First of all: records of a new partition may arrive before its owner has restored.
        self._clients.consumer.pause(*assigned)
        for tp in assigned:
            # Any position: its owner seeks to the right one. While a partition of a new group has
            # none, as where its restore has stopped for good, no partition's records come.
            self._clients.consumer.seek(tp, 0)
        if self._leaving:
            return
        self._setup.readiness.clear(self._setup.name.label)
        for tp in assigned:
            owner = PartitionOwner(tp, self._setup, self._clients)
            self._owned[tp.partition] = _Owned(owner, self._workers.create_task(owner.run()))
        self._clients.group_commit.partitions = len(self._owned)

    async def _revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Ends the work on all partitions: by eager rebalancing, the group revokes all or none.
        Transactions under way are finished if they can be in time, and abandoned otherwise."""
        leaving = list(self._owned.values())
        self._owned.clear()
        if not leaving:
            return
        for owned in leaving:
            owned.owner.revoke()
        _, late = await asyncio.wait([owned.task for owned in leaving], timeout=DRAIN_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=DRAIN_S)
        await self._write_checkpoints_of([owned.owner for owned in leaving])

    # -- checkpoints ---------------------------------------------------------------------------

    async def _write_checkpoints(self) -> None:
        while not is_cancelled():
            await asyncio.sleep(CHECKPOINT_EVERY_S)
            owners = self._owners()
            for owner in owners:
                owner.pass_markers()
            await self._write_checkpoints_of(owners)

    async def _write_checkpoints_of(self, owners: Collection[PartitionOwner]) -> None:
        await self._clients.checkpoints.write(
            {owner.tp: owner.checkpoint for owner in owners if owner.checkpoint is not None}
        )
