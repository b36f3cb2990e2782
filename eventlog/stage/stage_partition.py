"""The interface between a stage and the code that decides for one of its partitions."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Protocol

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
        asked = self.partition if partition is None else partition
        return (await self._offsets.high_watermarks(topic, [asked]))[asked]

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
    """What follows from the first ``taken`` of the records that were to be processed, at least one.

    What a partition has to know of its outputs when they are committed is a field of its own kind
    of batch, and nowhere else: of a batch that is not committed, nothing is left to be met."""

    outputs: Sequence[Output]
    taken: int

    async def committed(self, offsets: Sequence[int]) -> None:
        """Called once the outputs are committed: they stand at ``offsets``, in their order.

        It is called once for each batch, also for one without outputs, whose offsets are none; and
        never for one whose commit failed or is in doubt: the next ``restore`` tells what became of
        it. Nor is it called if the process dies meanwhile, so that all that matters must follow
        from the output alone. The partition's next ``process`` comes after it has returned: it may
        wait, to hold the partition back. It may raise what ``restore`` may, with the same effect;
        the batch stays committed.
        """


class StagePartition(Protocol):
    """The decisions of one partition and what they rest on, in the hands of its one owner.

    The owner (``PartitionOwner``) makes one for each attempt, right after the fence, and calls, one
    at a time: ``restore`` once; then, as long as records come, ``process`` and its batch's
    ``committed`` in turn. After an error it throws the partition away with whatever it remembers,
    fences again, and makes another. Any call may be cancelled where it awaits: a partition that is
    revoked has some seconds to end its batch (``stage.DRAIN_S``).

    An error's type tells what follows. ``Unavailable``: another attempt, after a pause.
    ``StageStopped`` or ``KafkaRefused``: this partition stops, and the others go on, until it is
    assigned anew. Any other stops the partition likewise if ``process`` raises it, and else ends
    the process.
    """

    async def restore(self, output: OutputLog) -> int:
        """Rebuilds the state from the output; returns the input offset to go on at.

        The predecessor can write no more, and what it has written is committed or aborted. May read
        Kafka and databases for as long as that takes; some other partitions wait for their turn
        meanwhile. It must wait for nothing that a paused process may hold.
        """

    async def process(self, records: Sequence[Record]) -> Batch:
        """Decides what follows from these input records, or from the first of them.

        They are one or more, in order, and follow on those that were taken before; between them may
        be markers' offsets. It sees a record again only if it did not take it: then the record
        comes first in the next call. The partition of a later attempt sees all again from where its
        ``restore`` says. No transaction is open yet, so no time-out of Kafka's runs, but partitions
        that began with this one wait for it: it may ask a database, and not linger.
        """

    @property
    def note(self) -> str:
        """What tells, beside a checkpoint, that the output has not moved on since.

        Read after ``restore`` and after each ``committed``; handed to a later ``restore`` with the
        checkpoint, as advice.
        """


Fail = Callable[[Exception], None]
"""Makes the owner stop with this error, when it next waits for records: a batch under way is
finished first. An error's type means what it does in ``StagePartition``. Of an attempt that has
ended, it does nothing."""
MakePartition = Callable[[int, Fail], StagePartition]
"""Makes what decides for a partition, by its number, for one attempt."""
