"""What was fetched of one partition waits undecoded until somebody takes it."""

import msgspec

from eventlog.kafka_errors import KafkaError
from eventlog.record_batches import Batches
from eventlog.records import Record, TopicPartition


class Taken(msgspec.Struct, frozen=True):
    """Holds what is handed over of one partition. With an error, which stands behind the records,
    the partition is left: follow it again if it may mend."""

    tp: TopicPartition
    records: list[Record]
    next_offset: int
    error: KafkaError | None = None


class Position:
    """Says where one partition is read. Another takes its place when the partition is moved, so
    what is still under way for this one finds nobody."""

    def __init__(self, tp: TopicPartition, offset: int) -> None:
        self.tp = tp
        self.offset = offset
        self.high_watermark: int | None = None
        self.rests_until = 0.0
        self.failures = 0


class Waiting:
    """Keeps what has come of one partition until it is taken, undecoded."""

    def __init__(
        self, of: Position, batches: Batches | None, error: KafkaError | None = None
    ) -> None:
        self.of = of
        self._batches = batches
        self._error = error
        self._ahead: list[Record] = []
        self._behind = of.offset

    def take(self, most: int | None) -> tuple[Taken, bool]:
        """Returns at most so many records, and whether that was all."""
        records: list[Record] = []
        position = self.of.offset
        while self._error is None:
            if self._ahead:
                room = None if most is None else most - len(records)
                records += self._ahead[:room]
                self._ahead = [] if room is None else self._ahead[room:]
                position = records[-1].offset + 1
                if self._ahead:
                    break
            position = max(position, self._behind)
            if most is not None and len(records) >= most:
                break
            try:
                batch = None if self._batches is None else self._batches.next(position)
            except KafkaError as error:
                self._error = error
                break
            if batch is None:
                self._batches = None
                break
            self._ahead, self._behind = batch
        self.of.offset = position
        over = self._batches is None or self._error is not None
        return Taken(self.of.tp, records, position, self._error), over
