"""Says what makes a stage the one that it is, and what its partitions share."""

import asyncio

import msgspec

from eventlog.checkpoints import Checkpoints
from eventlog.clients.group_consumer import GroupConsumer
from eventlog.clients.offsets_client import OffsetsClient
from eventlog.kafka import Kafka
from eventlog.stage.budget import Budget, Share
from eventlog.stage.group_commit import GroupCommit
from eventlog.stage.metrics import StageCounts
from eventlog.stage.stage_partition import MakePartition
from eventlog.stage.traces import StageTraces
from runtime.readiness import Readiness


class StageName(msgspec.Struct, frozen=True):
    """Names a stage. ``group``: its consumer group; its transactional ids are
    ``<transactional_prefix>.<partition>``."""

    label: str
    group: str
    transactional_prefix: str
    input_topic: str


STAGES_BYTES = 128 * 1024 * 1024
"""What all stages of a process may hold of records that are waiting or in work."""
TAKEN_AT_ONCE = 64
"""Partitions that a process fences and restores side by side. All at once, with a hundred partners,
would be a thousand that are connecting and reading, none of which is done in time."""


class Limits:
    """Holds what the stages of one process share. ``memory``: bytes; ``taking``: partitions."""

    def __init__(self, memory: int = STAGES_BYTES, taking: int = TAKEN_AT_ONCE) -> None:
        self.memory = Budget(memory)
        self.taking = Budget(taking)


class StageSetup(msgspec.Struct, frozen=True):
    """Describes a stage. ``rest_times``: see ``GroupCommit``; ``limits``: the process's."""

    name: StageName
    make_partition: MakePartition
    rest_times: float
    readiness: Readiness
    counts: StageCounts
    traces: StageTraces
    limits: Limits


class StageClients(msgspec.Struct, frozen=True):
    """Holds what the partitions of a stage share. ``closing``: the closing of writers that are no
    longer used; ``memory``, ``taking``: the stage's shares of the process's limits."""

    kafka: Kafka
    consumer: GroupConsumer
    offsets: OffsetsClient
    checkpoints: Checkpoints
    closing: set[asyncio.Task[None]]
    group_commit: GroupCommit
    memory: Share
    taking: Share
