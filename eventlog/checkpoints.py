"""Checkpoints are a group's advisory offsets. A stage's output says where it goes on; checkpoints
only shorten the search."""

import logging
from collections.abc import Mapping

import msgspec

from eventlog.clients.client import REQUEST_TIMEOUT_S
from eventlog.clients.group_consumer import GroupConsumer
from eventlog.kafka_errors import KafkaError, kafka_errors
from eventlog.records import TopicPartition
from runtime.waiting import within

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 3.0


class Checkpoint(msgspec.Struct, frozen=True):
    """Holds an advisory group offset: the input's ``next_offset``, and the stage's note on its
    output at that moment, by which a later owner can tell whether to believe it."""

    next_offset: int
    note: str


class Checkpoints:
    """Reads and writes the checkpoints of the group that ``consumer`` is a member of."""

    def __init__(self, group: str, consumer: GroupConsumer) -> None:
        self._group = group
        self._consumer = consumer

    async def read(self, tp: TopicPartition) -> Checkpoint | None:
        """Returns the group's last checkpoint, None if there is none.

        Raises:
            KafkaUnavailable: the group's coordinator does not answer.
        """
        with kafka_errors(f"reading the offsets of {self._group}"):
            found = await within(self._consumer.committed(tp), REQUEST_TIMEOUT_S)
        return Checkpoint(*found) if found is not None else None

    async def write(self, checkpoints: Mapping[TopicPartition, Checkpoint]) -> bool:
        """Returns whether the group accepted them, as a member's. A refusal costs nothing but a
        longer look at the output next time."""
        if not checkpoints:
            return True
        offsets = {tp: (made.next_offset, made.note) for tp, made in checkpoints.items()}
        try:
            await within(self._consumer.commit(offsets), WRITE_TIMEOUT_S)
        except (KafkaError, TimeoutError) as error:
            log.debug("%s: checkpoint not written: %r", self._group, error)
            return False
        return True
