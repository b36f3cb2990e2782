"""Defines the interface between a stage and the code that decides for one of its partitions."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Protocol, runtime_checkable

import msgspec

from eventlog.checkpoints import Checkpoint
from eventlog.clients.offsets_client import OffsetsClient
from eventlog.log_reader import FEW_AT_ONCE, LogReader
from eventlog.records import Output, Record
from runtime.errors import KafkaUnavailable, PositionLost


class OutputLog:
    """Answers what the fenced owner of a partition may rely on when it restores."""

    def __init__(
        self,
        reader: LogReader,
        offsets: OffsetsClient,
        partition: int,
        checkpoint: Checkpoint | None,
    ) -> None:
        self._reader = reader
        self._offsets = offsets
        self.partition = partition
        self.checkpoint = checkpoint

    async def high_watermark(self, topic: str, partition: int | None = None) -> int:
        """Returns the end of the topic's partition. ``partition``: another than its own, of a topic
        that is not the output."""
        number = self.partition if partition is None else partition
        return (await self._offsets.high_watermarks(topic, [number]))[number]

    async def beginning(self, topic: str) -> int:
        begins = await self._offsets.beginnings(topic, [self.partition])
        return begins[self.partition]

    async def read(self, topic: str, begin: int, end: int) -> AsyncIterator[list[Record]]:
        """Yields the committed records of ``[begin, end)``. Whoever can't do without what retention
        has deleted asks for the beginning first.

        Raises:
            KafkaUnavailable: as ``LogReader.read``; or retention has passed ``begin``.
        """
        p = self.partition
        with _still_there(topic):
            async with aclosing(
                self._reader.read(topic, {p: begin}, {p: end}, FEW_AT_ONCE)
            ) as batches:
                async for batch in batches:
                    yield batch

    async def last(self, topic: str) -> Record | None:
        """Returns the last committed record that is still there.

        Raises:
            KafkaUnavailable: as ``read``.
        """
        end, begin = await self.high_watermark(topic), await self.beginning(topic)
        with _still_there(topic):
            return await self._reader.last(topic, self.partition, end, begin)


@contextmanager
def _still_there(topic: str) -> Iterator[None]:
    """Makes retention an outage. To ask where a topic begins and to read from there are two
    questions: the next attempt finds another beginning."""
    try:
        yield
    except PositionLost as error:
        raise KafkaUnavailable(f"{topic}: retention went on while it was read") from error


class Batch(msgspec.Struct, frozen=True):
    """Holds what follows from the first ``taken`` of the records to be processed, one at least.
    What follows from the end of a stretch has taken none.

    A partition that has to know more once its outputs are committed makes a kind of batch with the
    fields for that. No attribute of the partition is for one batch."""

    outputs: Sequence[Output]
    taken: int

    async def committed(self, offsets: Sequence[int]) -> None:
        """Learns that the outputs are committed and stand at ``offsets``, in their order.

        The lane calls it once, also without outputs, before it moves the checkpoint behind the
        records that were taken. Meanwhile the partition may decide on the next ones; to wait here
        holds back the lane's next transaction. It is not called if the commit failed or is in
        doubt, or the process dies: then the next ``restore`` finds out. So it may add nothing that
        does not follow from the output. It may raise what ``restore`` may; the batch stays
        committed."""


class StagePartition(Protocol):
    """Decides for one partition. Its lane makes it, calls it, and throws it away.

    The lane makes one for each attempt, after its fence. It calls ``restore`` once and then, as
    records come, ``process``; the batches' ``committed`` follow in their order, and may fall amid
    the next ``process``. Any may be cancelled where it awaits, ``stage.DRAIN_S`` seconds after the
    lane was revoked.

    After any error nothing more is called but ``committed``, of batches that were decided before.
    What follows depends on the error's type. ``Unavailable``: another attempt, after a pause; what
    is decided and not yet being written is forgotten. ``StageStopped`` and ``KafkaRefused``: the
    partition stops until it is assigned anew, and the others go on. Any other error stops it
    likewise if ``process`` raises it, and else ends the role."""

    async def restore(self, output: OutputLog) -> int:
        """Rebuilds the state from the output, and returns the input offset to go on at.

        The predecessor writes no more, and no transaction of the lane's own is under way that the
        partition is part of: all that was written is committed or aborted. Reading Kafka and
        databases may take as long as it takes, while some other partitions wait for their turn.
        It must not wait for what a paused process may hold, a lock of a database for instance."""

    async def process(self, records: Sequence[Record]) -> Batch:
        """Decides what follows from these input records, or from the first of them.

        They are one or more, in order, and follow on those taken before; offsets between them are
        markers'. A record comes again, first of the next call, only if it was not taken; and in a
        later attempt, from where its ``restore`` goes on. What it decides builds on batches that
        may not be committed yet: if that fails, all of it is forgotten. The lane's other partitions
        wait meanwhile: it may ask a database, and should need no more than milliseconds."""

    @property
    def note(self) -> str:
        """What the checkpoint says beside its offset, for a later ``restore`` to check.

        The lane reads it after ``restore`` and after each ``process``."""


@runtime_checkable
class BoundedPartition(StagePartition, Protocol):
    """Decides for a partition of whose input only a stretch is processed."""

    @property
    def end(self) -> int:
        """The offset of the input before which all is processed, and nothing from there on. The
        lane asks after ``restore``."""

    async def finish(self) -> Batch:
        """Decides what follows from the end of the stretch. The lane calls it once in an attempt,
        when everything before ``end`` is decided on, also if ``restore`` goes on there or beyond.
        Then nothing more is called but ``committed``."""


Fail = Callable[[Exception], None]
"""Ends the attempt with this error at the lane's next turn. The error's type means what it does in
``StagePartition``. After the attempt's end it does nothing."""
MakePartition = Callable[[int, Fail], StagePartition]
"""Makes what decides for a partition, by its number, for one attempt."""
