import asyncio
from typing import Any, cast

from eventlog.records import TopicPartition
from eventlog.stage.group_commit import GroupCommit
from eventlog.stage.partition_owner import PartitionOwner
from eventlog.stage.setup import Limits, StageClients, StageName, StageSetup
from runtime.readiness import Readiness

NEVER_ASKED = cast(Any, None)


async def test_a_partition_that_waits_for_its_turn_is_given_up_at_once() -> None:
    limits = Limits(taking=1)
    taking = limits.taking.share()
    taking.take(1)
    setup = StageSetup(
        StageName("stage", "group", "prefix", "input"),
        NEVER_ASKED,
        1.0,
        Readiness(),
        NEVER_ASKED,
        NEVER_ASKED,
        limits,
    )
    clients = StageClients(
        NEVER_ASKED,
        NEVER_ASKED,
        NEVER_ASKED,
        NEVER_ASKED,
        set(),
        GroupCommit(1.0),
        limits.memory.share(),
        taking,
    )
    owner = PartitionOwner(TopicPartition("input", 0), setup, clients)
    waiting = asyncio.create_task(owner.run())
    await asyncio.sleep(0)
    owner.revoke()
    async with asyncio.timeout(5):
        await waiting
