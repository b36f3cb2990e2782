"""What a stage and the one that decides for a partition know of each other."""

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
    """What the fenced owner of a partition may rely on when it restores."""

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
        """``partition``: another than its own, of a topic that is not the output."""
        asked = self.partition if partition is None else partition
        return (await self._offsets.high_watermarks(topic, [asked]))[asked]

    async def beginning(self, topic: str) -> int:
        begins = await self._offsets.beginnings(topic, [self.partition])
        return begins[self.partition]

    async def read(self, topic: str, begin: int, end: int) -> AsyncIterator[list[Record]]:
        """The committed records of ``[begin, end)``. Whoever can't do without what retention has
        deleted asks for the beginning first.

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
        """The last committed record that is still there.

        Raises:
            KafkaUnavailable: as ``read``.
        """
        end, begin = await self.high_watermark(topic), await self.beginning(topic)
        with _still_there(topic):
            return await self._reader.last(topic, self.partition, end, begin)


@contextmanager
def _still_there(topic: str) -> Iterator[None]:
    """To ask where it begins and to read from there are two questions: the next attempt finds
    another beginning."""
    try:
        yield
    except PositionLost as error:
        raise KafkaUnavailable(f"{topic}: retention went on while it was read") from error


class Decided(msgspec.Struct, frozen=True):
    """The outputs that follow from the first ``taken`` of the records that were to be processed;
    at least one was. The rest is asked for again."""

    outputs: Sequence[Output]
    taken: int


class StagePartition(Protocol):
    """The decisions and the state of one partition. Made afresh each time it is taken."""

    async def restore(self, output: OutputLog) -> int:
        """Rebuilds the state from the output; returns the input offset to go on at."""

    async def process(self, records: Sequence[Record]) -> "Decided":
        """What follows from these input records, or from the first of them."""

    async def committed(self, offsets: Sequence[int]) -> None:
        """The outputs of the last ``process`` stand at ``offsets``, for good."""

    @property
    def note(self) -> str:
        """For the checkpoint: what tells that the output has not moved on since."""


Fail = Callable[[Exception], None]
"""Makes a partition's worker stop what it does with this error, when it next looks."""
MakePartition = Callable[[int, Fail], StagePartition]
