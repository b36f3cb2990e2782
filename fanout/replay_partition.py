"""Sends a partition of a partner's events once more, and an end marker behind the last of them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from eventlog.records import Output, Record
from eventlog.stage.stage_partition import Batch, OutputLog
from fanout.partition import FanoutPartition
from fanout.positions import Positions
from runtime.errors import StreamViolation
from schemas.primitives import write_time
from schemas.records import Place
from schemas.registry import Replay
from schemas.replay_events import (
    ReplayEndedHeaders,
    decode_replay_ended,
    encode_replay_ended,
    is_replay_end,
    replay_ended,
)
from schemas.topics import LockTopics

AT_ONCE = 100
"""Records that are decided on before others of the process have their turn."""

OnEnded = Callable[[], None]
"""Called when the partition's end marker stands, also if it did before."""


class ReplayPartition:
    """Implements ``eventlog.stage.stage_partition.BoundedPartition``, as a partner's partition does
    over a stretch of the log. It works half of the time: what partners wait for goes first."""

    def __init__(
        self,
        topics: LockTopics,
        replay: Replay,
        partition: int,
        positions: Positions,
        on_ended: OnEnded,
    ) -> None:
        self._replay = replay
        self._partition = partition
        self._positions = positions
        self._on_ended = on_ended
        self._topic = topics.partner_replay(replay.partner_id, replay.number)
        self._events = FanoutPartition(topics, replay.as_partner, partition, positions, self._topic)
        self._has_ended = False

    @property
    def end(self) -> int:
        return self._replay.end_offsets[self._partition]

    @property
    def note(self) -> str:
        return self._events.note

    async def restore(self, output: OutputLog) -> int:
        """Finds the last event that was sent, or the end marker.

        Raises:
            StreamViolation: as ``FanoutPartition.restore``; or retention has emptied the output.
            Unavailable: the output can't be read now.
        """
        last = await output.last(self._topic)
        if last is None and await output.beginning(self._topic) > 0:
            replay = f"--id {self._replay.partner_id} --replay {self._replay.number}"
            raise StreamViolation(
                f"{self._topic}[{self._partition}] holds no record any more: retention was faster "
                f"than the replay; `lockstream partner cancel {replay}` and begin another"
            )
        if last is None or not is_replay_end(last.headers):
            return await self._events.restore(output)
        self._check(last)
        self._has_ended = True
        return self.end

    def _check(self, marker: Record) -> None:
        """Returns if this replay's fan-out wrote the end marker.

        Raises:
            StreamViolation: it did not.
        """
        place = Place.of(self._topic, marker)
        try:
            position = self._positions.read(self._topic, marker)
            count = decode_replay_ended(marker.value or b"").detail.count
        except ValueError as error:
            raise StreamViolation(f"{place}: {error}") from error
        if (position.source_offset, position.sequence) != (self.end, count + 1):
            raise StreamViolation(f"{place}: it is not the end of this replay")

    async def process(self, records: Sequence[Record]) -> Batch:
        """Decides as ``FanoutPartition.process``, on some of the records at once.

        Raises:
            StreamViolation: as ``FanoutPartition.process``.
        """
        began = time.perf_counter()
        batch = await self._events.process(records[:AT_ONCE])
        await asyncio.sleep(time.perf_counter() - began)
        return batch

    async def finish(self) -> Batch:
        """Decides that the end marker follows, unless it stands."""
        outputs = [] if self._has_ended else [self._marker()]
        return _Last(outputs, 0, self._on_ended)

    def _marker(self) -> Output:
        count = self._events.sequence
        replay, partition, sequence = self._replay, self._partition, count + 1
        ended_at = write_time(datetime.now(UTC))
        record = replay_ended(replay.partner_id, replay.number, partition, count, ended_at)
        position = self._positions.seal(self._topic, partition, sequence, self.end)
        headers = ReplayEndedHeaders.of(record, position=position, sequence=sequence)
        value = encode_replay_ended(record)
        return Output(self._topic, None, value, headers.to_kafka(), self.end)


class _Last(Batch, frozen=True):
    on_ended: OnEnded

    async def committed(self, offsets: Sequence[int]) -> None:
        self.on_ended()
