"""Ends a stage from outside, before its output is deleted or its position is kept."""

import asyncio
from collections.abc import Iterable

from eventlog.groups import group_members
from eventlog.kafka import Kafka
from eventlog.transactional_writer import TransactionalWriter
from runtime.errors import KafkaUnavailable

POLL_S = 0.1


async def end_stage(
    kafka: Kafka, group: str, transactional_ids: Iterable[str], timeout_s: float = 30.0
) -> None:
    """Returns once nobody writes for the stage: its group is empty, and its transactions have
    ended, since its ids were taken over.

    A broker that has markers to write into a topic that is being deleted may leave its own request
    unanswered, and then ends no transaction of anybody for half a minute (seen with 4.1.1).

    Args:
        timeout_s: how long the group's members may take to leave.

    Raises:
        KafkaUnavailable: somebody is still in the group, or the broker can't be reached in time.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while members := await group_members(kafka, group):
        if asyncio.get_running_loop().time() > deadline:
            names = ", ".join(member.name for member in members)
            raise KafkaUnavailable(f"{names} still in group {group}; try again when they left")
        await asyncio.sleep(POLL_S)
    for transactional_id in transactional_ids:
        await TransactionalWriter.end(kafka, transactional_id)
