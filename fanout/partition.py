"""Fans out one partition to one partner."""

import re
from collections.abc import Sequence

import msgspec

from eventlog.checkpoints import Checkpoint
from eventlog.records import Output, Record
from eventlog.stage.stage_partition import Batch, OutputLog
from fanout.decisions import delivers
from fanout.positions import Position, Positions
from runtime.errors import StreamViolation
from schemas.lock_events import EventRecord
from schemas.partner_events import encode_envelope, envelope, partner_headers
from schemas.records import BadRecord, Place
from schemas.registry import Partner, PausedAt
from schemas.topics import LockTopics

_NOTE = re.compile(
    r"sequence=(?P<sequence>[0-9]{1,19});since=(?P<since>[^;]*)(;changes=(?P<changes>[0-9]{1,9}))?\Z"
)


class FanoutPartition:
    """Implements ``eventlog.stage.stage_partition.StagePartition``. Its state is the last sequence,
    and the ``source-offset`` of the last input, which must increase. ``topic``: another than the
    partner's own."""

    def __init__(
        self,
        topics: LockTopics,
        partner: Partner,
        partition: int,
        positions: Positions,
        topic: str | None = None,
    ) -> None:
        self._topics = topics
        self._partner = partner
        self._partition = partition
        self._positions = positions
        self._topic = topic or topics.partner_events(partner.id)
        self._sequence = 0
        self._last_fact_offset = -1

    @property
    def sequence(self) -> int:
        """Returns the sequence of the last record that was decided on."""
        return self._sequence

    @property
    def note(self) -> str:
        """Names the last sequence, the registration, and how often its types had changed. A
        checkpoint counts only if the output still ends there; a partner's id may have been
        another's before; and who knew less of its types may have passed over what it is to get."""
        note = f"sequence={self._sequence};since={self._partner.created_at}"
        changes = len(self._partner.earlier)
        return f"{note};changes={changes}" if changes else note

    async def restore(self, output: OutputLog) -> int:
        """Finds the last sequence, and goes on behind the event that has it.

        Raises:
            StreamViolation: the output holds what no fan-out wrote, or retention has emptied it
                and no checkpoint says how far it had come, or the registration lacks a partition.
            Unavailable: the output can't be read now.
        """
        self._last_fact_offset = -1
        if self._partition >= len(self._partner.start_offsets):
            raise StreamViolation(
                f"partner {self._partner.id}: its registration has no start offset for partition "
                f"{self._partition}"
            )
        last = await output.last(self._topic)
        start = self._partner.start_offsets[self._partition]
        paused = await self._paused_at(output)
        if last is not None:
            position = self._read_position(last)
            self._sequence = position.sequence
            start = max(start, position.source_offset + 1)
        elif await output.beginning(self._topic) == 0:
            # Retention has deleted nothing: there has never been a committed record.
            self._sequence = 0
        elif paused is not None:
            self._sequence = paused.sequence
        else:
            return self._restore_emptied(output, start)
        if paused is not None and paused.sequence == self._sequence:
            start = max(start, paused.next_offset)
        return max(start, self._reached(output.checkpoint))

    def _reached(self, checkpoint: Checkpoint | None) -> int:
        """Returns up to where a checkpoint is believed: not at all unless it is of this
        registration and the output ends where it did, and not beyond the offset at which types
        changed of which its writer did not know."""
        noted = _Note.read(checkpoint.note) if checkpoint is not None else None
        if checkpoint is None or noted is None:
            return 0
        if (noted.sequence, noted.since) != (self._sequence, self._partner.created_at):
            return 0
        unknown = [
            change.until[self._partition] for change in self._partner.earlier[noted.changes :]
        ]
        return min([checkpoint.next_offset, *unknown])

    async def _paused_at(self, output: OutputLog) -> PausedAt | None:
        """Returns where it was paused, if nothing was written since. Retention and the expiry of
        group offsets leave this of the position."""
        if self._partition >= len(self._partner.paused_at):
            return None
        paused = self._partner.paused_at[self._partition]
        end = await output.high_watermark(self._topic)
        return paused if paused.output_end == end else None

    async def paused_at(self, output: OutputLog) -> PausedAt:
        """Returns how far it has come, to be kept while nobody serves the partner.

        Raises:
            StreamViolation: as ``restore``.
            Unavailable: as ``restore``.
        """
        next_offset = await self.restore(output)
        return PausedAt(next_offset, self._sequence, await output.high_watermark(self._topic))

    def _restore_emptied(self, output: OutputLog, start: int) -> int:
        """Goes by the checkpoint alone: the output has held records (or markers), and none is
        left."""
        checkpoint = output.checkpoint
        noted = _Note.read(checkpoint.note) if checkpoint is not None else None
        if noted is not None and noted.since == self._partner.created_at:
            self._sequence = noted.sequence
            return max(start, self._reached(checkpoint))
        raise StreamViolation(
            f"{self._topic}[{self._partition}] holds no record any more and no checkpoint says how "
            "far it had come: going on could repeat events; "
            "`lockstream partner remove --delete-topic` and add the partner anew from a time"
        )

    def _read_position(self, record: Record) -> Position:
        try:
            return self._positions.read(self._topic, record)
        except ValueError as error:
            raise StreamViolation(f"{Place.of(self._topic, record)}: {error}") from error

    async def process(self, records: Sequence[Record]) -> Batch:
        """Decides what the partner gets of these events. Values are decoded only to be delivered.
        What stands before a record that no projector wrote is still delivered.

        Raises:
            StreamViolation: the first record is one that no projector wrote: it goes to nobody.
        """
        outputs: list[Output] = []
        for taken, record in enumerate(records):
            try:
                read = EventRecord.read(self._topics.lock_events, record)
                read.check_follows(self._last_fact_offset)
                if self._is_due(read):
                    outputs.append(self._deliver(record.key, read))
            except BadRecord as error:
                if taken == 0:
                    raise StreamViolation(str(error)) from error
                return Batch(outputs, taken)
            # Only now: a record that goes to nobody is looked at again, and must fail alike.
            self._last_fact_offset = read.headers.source_offset
        return Batch(outputs, len(records))

    def _is_due(self, read: EventRecord) -> bool:
        return delivers(read.headers, self._partner, self._partition, read.place.offset)

    def _deliver(self, key: bytes | None, read: EventRecord) -> Output:
        event = read.event()
        try:
            delivered = envelope(event, self._partner.id)
        except (ValueError, OverflowError) as error:
            raise BadRecord(read.place, error) from error
        self._sequence += 1
        offset = read.place.offset
        return Output(
            self._topic,
            key,
            encode_envelope(delivered),
            partner_headers(
                delivered,
                position=self._positions.seal(self._topic, self._partition, self._sequence, offset),
                sequence=self._sequence,
                trace=read.headers.trace,
            ),
            offset,
        )


def noted_sequence(note: str, partner: Partner) -> int | None:
    """Returns the sequence in a checkpoint's note, if it is of this registration of the partner."""
    noted = _Note.read(note)
    return noted.sequence if noted is not None and noted.since == partner.created_at else None


class _Note(msgspec.Struct, frozen=True):
    """Holds what a checkpoint's note says."""

    sequence: int
    since: str
    changes: int

    @classmethod
    def read(cls, note: str) -> "_Note | None":
        """Returns None if no fan-out of ours wrote it."""
        match = _NOTE.match(note)
        if match is None:
            return None
        return cls(int(match["sequence"]), match["since"], int(match["changes"] or 0))
