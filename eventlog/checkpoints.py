"""Checkpoints: a group's advisory offsets. Where a stage goes on is told by its output; these only
save it a longer look."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from eventlog.kafka import REQUEST_TIMEOUT_S
from eventlog.kafka_errors import kafka_errors
from runtime.waiting import within

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 3.0


class Checkpoint(msgspec.Struct, frozen=True):
    """An advisory group offset: ``next_offset`` of the input, and the stage's note on its output
    at that moment, by which a later owner can tell whether to believe it."""

    next_offset: int
    note: str


class Checkpoints:
    """Of the group that ``consumer`` is a member of."""

    def __init__(self, group: str, consumer: Any) -> None:
        self._group = group
        self._consumer = consumer

    async def read(self, tp: TopicPartition) -> Checkpoint | None:
        """
        Raises:
            KafkaUnavailable: the group's coordinator does not answer.
        """
        # The public committed() drops the metadata.
        with kafka_errors(f"reading the offsets of {self._group}"):
            found = await within(
                self._consumer._coordinator.fetch_committed_offsets([tp]), REQUEST_TIMEOUT_S
            )
        committed = found.get(tp)
        if committed is None or committed.offset < 0:
            return None
        return Checkpoint(committed.offset, committed.metadata)

    async def write(self, checkpoints: Mapping[TopicPartition, Checkpoint]) -> bool:
        """Whether they were accepted, as from a member. That they were not costs nothing but a
        longer look at the output next time."""
        if not checkpoints:
            return True
        offsets = {
            tp: OffsetAndMetadata(checkpoint.next_offset, checkpoint.note)
            for tp, checkpoint in checkpoints.items()
        }
        try:
            await within(self._consumer.commit(offsets), WRITE_TIMEOUT_S)
        except (KafkaError, TimeoutError) as error:
            log.debug("%s: checkpoint not written: %r", self._group, error)
            return False
        return True
