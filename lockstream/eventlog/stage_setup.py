"""What makes a stage the one that it is, and the clients that its partitions share."""

import asyncio
from typing import Any

import msgspec

from lockstream.eventlog.checkpoints import Checkpoints
from lockstream.eventlog.group_commit import GroupCommit
from lockstream.eventlog.kafka import Kafka
from lockstream.eventlog.stage_metrics import StageCounts
from lockstream.eventlog.stage_partition import MakePartition
from lockstream.eventlog.stage_traces import StageTraces
from lockstream.runtime.readiness import Readiness


class StageName(msgspec.Struct, frozen=True):
    """``group``: the consumer group; ``transactional_prefix``: of ``<prefix>.<partition>``."""

    label: str
    group: str
    transactional_prefix: str
    input_topic: str


class StageSetup(msgspec.Struct, frozen=True):
    """``rest_times``: see ``GroupCommit``."""

    name: StageName
    make_partition: MakePartition
    rest_times: float
    readiness: Readiness
    counts: StageCounts
    traces: StageTraces


class StageClients(msgspec.Struct, frozen=True):
    """``consumer``: the group's; ``offsets``: to ask for the ends of partitions; ``closing``:
    writers that are being put away."""

    kafka: Kafka
    consumer: Any
    offsets: Any
    checkpoints: Checkpoints
    closing: set[asyncio.Task[None]]
    group_commit: GroupCommit
