"""A lane partition says how one partition of a lane stands: restoring, working, or stopped."""

from collections import deque
from collections.abc import Sequence

import msgspec

from eventlog.checkpoints import Checkpoint
from eventlog.records import Record, TopicPartition
from eventlog.stage.metrics import PartitionLag
from eventlog.stage.stage_partition import Batch, BoundedPartition, StagePartition
from runtime.backoff import Backoff

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class LanePartition:
    """Keeps one partition's place in its input. ``decider``: None unless the partition works;
    ``checkpoint``: how far it has come for good, None until it has restored; ``stopped``: why it
    works no more; ``failure``: what is to end its work at the lane's next turn; ``attempt``: to
    restore it and work, counted; ``high_watermark``: the input's, as last seen; ``end_offset``: the
    input's offset at which its work ends, None if it never does; ``finished``: that end is decided
    on."""

    def __init__(self, tp: TopicPartition, label: str) -> None:
        self.tp = tp
        self.where = f"{label} partition {tp.partition}"
        self.place = f"{tp.topic}[{tp.partition}]"
        self.backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self.restored_at = 0.0
        self.decider: StagePartition | None = None
        self.checkpoint: Checkpoint | None = None
        self.stopped: str | None = None
        self.failure: Exception | None = None
        self.attempt = 0
        self.high_watermark: int | None = None
        self.end_offset: int | None = None
        self.finished = False
        self.in_process: Sequence[Record] = ()
        self._taken_to = 0
        self._undone: deque[Decided] = deque()

    def begin(self, decider: StagePartition, position: int) -> None:
        """Begins to work at this position of the input."""
        self._undone.clear()
        self.failure = None
        self.decider = decider
        self.end_offset = decider.end if isinstance(decider, BoundedPartition) else None
        self.finished = False
        self.in_process = ()
        self._taken_to = position
        self.checkpoint = Checkpoint(position, decider.note)

    def end(self) -> None:
        """Works no more, for now or for good. What is decided may still be written."""
        self.decider = None
        self.failure = None
        self.attempt += 1
        self.in_process = ()

    def take(self, records: Sequence[Record], next_offset: int) -> None:
        """Takes records to be decided on, or none: then markers stood before ``next_offset``. Takes
        nothing from its end on."""
        end = self.end_offset
        if end is not None and next_offset > end:
            records, next_offset = [record for record in records if record.offset < end], end
        self.in_process = records
        self._taken_to = next_offset

    @property
    def taken_to(self) -> int:
        """Returns the offset before which everything was taken."""
        return self._taken_to

    @property
    def is_at_end(self) -> bool:
        """Returns whether all of its stretch is decided on, and its end is not."""
        if self.end_offset is None or self.decider is None or self.finished:
            return False
        return not self.in_process and self._taken_to >= self.end_offset

    def decided(self, decided: "Decided", left: Sequence[Record]) -> None:
        """Notes what became of some records. ``left``: those that are still to be decided on."""
        self._undone.append(decided)
        self.in_process = left

    def done(self, decided: "Decided") -> None:
        """Notes that the oldest of what is decided stands in the output."""
        self._undone.popleft()
        self.checkpoint = Checkpoint(decided.next_offset, decided.note)

    @property
    def progress(self) -> Checkpoint | None:
        """Returns the checkpoint to be written. It passes the markers behind the last record too: a
        tool that compares offsets would see a lag that never ends."""
        if self.checkpoint is None or self.decider is None or self._undone or self.in_process:
            return self.checkpoint
        return Checkpoint(self._taken_to, self.decider.note)

    def status(self) -> dict[str, object]:
        return {
            "nextOffset": self.checkpoint.next_offset if self.checkpoint else None,
            "highWatermark": self.high_watermark,
            "lag": self._lag_records(),
            "stopped": self.stopped,
        }

    def lag(self, now_ms: float) -> PartitionLag:
        records = self._lag_records()
        oldest = self._oldest_ms
        seconds = max(0.0, (now_ms - oldest) / 1000) if oldest is not None else None
        if records == 0:
            seconds = 0.0
        return PartitionLag(self.tp.partition, records, seconds, self.stopped is not None)

    @property
    def _oldest_ms(self) -> int | None:
        if self._undone:
            return self._undone[0].oldest_ms
        return self.in_process[0].timestamp_ms if self.in_process else None

    def _lag_records(self) -> int | None:
        """Counts records taken and not done with, and offsets not taken yet. While the partition
        does not work, it is the offsets beyond the last one done with, markers included."""
        end = self.end_offset if self.finished else self.high_watermark
        if end is None or self.checkpoint is None:
            return None
        if self.end_offset is not None:
            end = min(end, self.end_offset)
        if self.decider is None:
            return max(0, end - self.checkpoint.next_offset)
        in_work = len(self.in_process) + sum(decided.records for decided in self._undone)
        return max(0, end - self._taken_to) + in_work


class Decided(msgspec.Struct, frozen=True):
    """Holds a batch that waits to be written. ``records``, ``oldest_ms``: of the input that it
    follows from; ``next_offset``, ``note``: the checkpoint behind it; ``bytes``: what it takes."""

    partition: LanePartition
    batch: Batch
    records: int
    oldest_ms: int
    next_offset: int
    note: str
    bytes: int
    started_at_ns: int
