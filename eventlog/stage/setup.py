"""Says what makes a stage the one that it is, and what its lanes share."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from eventlog.checkpoints import Checkpoints
from eventlog.clients.group_consumer import GroupConsumer
from eventlog.clients.offsets_client import OffsetsClient
from eventlog.kafka import Kafka
from eventlog.stage.budget import Budget, Share
from eventlog.stage.metrics import StageCounts
from eventlog.stage.stage_partition import MakePartition
from eventlog.stage.traces import StageTraces
from runtime.readiness import Readiness
from schemas.lanes import Lanes, lane_id

Confirm = Callable[[OffsetsClient], Awaitable[None]]
"""Returns if the stage may still work as it was set up. A lane asks right after its fence: what is
so then stays so for what it writes, if whoever changes it fences the lane afterwards. Raises what
``StagePartition.restore`` may."""


class StageName(msgspec.Struct, frozen=True):
    """Names a stage. ``group``: its consumer group, which begins its transactional ids too."""

    label: str
    group: str
    input_topic: str

    def lane(self, number: int) -> str:
        """Returns the transactional id of a lane."""
        return lane_id(self.group, number)


STAGES_BYTES = 128 * 1024 * 1024
"""What all stages of a process may hold of records that are in work."""
TAKEN_AT_ONCE = 64
"""Lanes and partitions that a process fences and restores side by side. All at once, with a hundred
partners, would be a thousand that are connecting and reading, none of which is done in time."""


class Limits:
    """Holds what the stages of one process share. ``memory``: bytes; ``taking``: lanes being
    fenced, and partitions being restored."""

    def __init__(self, memory: int = STAGES_BYTES, taking: int = TAKEN_AT_ONCE) -> None:
        self.memory = Budget(memory)
        self.taking = Budget(taking)


class Rest(msgspec.Struct, frozen=True):
    """Says how long a lane rests after a transaction, so that more piles up. ``times``: after many
    records, as a multiple of the time that they took; ``least_s``: after one record too."""

    times: float
    least_s: float = 0.0


class StageSetup(msgspec.Struct, frozen=True):
    """Describes a stage. ``limits``: the process's."""

    name: StageName
    lanes: Lanes
    make_partition: MakePartition
    confirm: Confirm
    rest: Rest
    readiness: Readiness
    counts: StageCounts
    traces: StageTraces
    limits: Limits


class StageClients(msgspec.Struct, frozen=True):
    """Holds what the lanes of a stage share. ``closing``: the closing of writers that are no
    longer used; ``taking``: the stage's share of the process's limit."""

    kafka: Kafka
    consumer: GroupConsumer
    offsets: OffsetsClient
    checkpoints: Checkpoints
    closing: set[asyncio.Task[None]]
    taking: Share
