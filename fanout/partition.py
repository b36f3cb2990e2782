"""One partition of one partner's fan-out."""

import re
from collections.abc import Awaitable, Callable, Sequence

from eventlog.records import Output, Record
from eventlog.stage.stage_partition import Decided, OutputLog
from fanout.decisions import delivers
from runtime.errors import StreamViolation
from schemas.lock_events import EventHeaders, decode_event
from schemas.partner_events import (
    PartnerPosition,
    encode_envelope,
    envelope,
    partner_headers,
)
from schemas.registry import Partner, PausedAt
from schemas.topics import LockTopics

Confirm = Callable[[int], Awaitable[None]]
"""Returns if the registry, read up to this offset, still has the partner as it is served; raises
``Unavailable`` if not, or if that can't be known now."""


class FanoutPartition:
    """Implements ``eventlog.stage_partition.StagePartition``. Its whole state is the last sequence,
    and the ``source-offset`` of the last input, which must increase."""

    def __init__(
        self, topics: LockTopics, partner: Partner, partition: int, confirm: Confirm
    ) -> None:
        self._confirm = confirm
        self._topics = topics
        self._partner = partner
        self._partition = partition
        self._topic = topics.partner_events(partner.id)
        self._sequence = 0
        self._last_fact_offset = -1

    @property
    def note(self) -> str:
        """A checkpoint is believed only if the output still ends at the sequence it names, and it
        is of this registration: a partner's id may have been used before."""
        return _note(self._sequence, self._partner)

    async def restore(self, output: OutputLog) -> int:
        """
        Raises:
            StreamViolation: the output holds what no fan-out wrote, or retention has emptied it
                and no checkpoint says how far it had come, or the registration lacks a partition.
            Unavailable: the partner's registration is another meanwhile, or can't be known.
        """
        # After the fence: whoever removes the partner and adds another under its id has to take
        # the fence over first, so an entry that is right now stays so for what we write.
        await self._confirm(await output.high_watermark(self._topics.registry, 0))
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
        checkpoint = output.checkpoint
        if checkpoint is not None and checkpoint.note == self.note:
            return max(start, checkpoint.next_offset)
        return start

    async def _paused_at(self, output: OutputLog) -> PausedAt | None:
        """Where it was paused, if nothing was written since: what retention and the expiry of
        group offsets leave of the position."""
        if self._partition >= len(self._partner.paused_at):
            return None
        paused = self._partner.paused_at[self._partition]
        end = await output.high_watermark(self._topic)
        return paused if paused.output_end == end else None

    async def paused_at(self, output: OutputLog) -> PausedAt:
        """How far it has come, to be kept while nobody serves the partner.

        Raises:
            StreamViolation: as ``restore``.
            Unavailable: as ``restore``.
        """
        next_offset = await self.restore(output)
        return PausedAt(next_offset, self._sequence, await output.high_watermark(self._topic))

    def _restore_emptied(self, output: OutputLog, start: int) -> int:
        """The output has held records (or markers), and none is left."""
        checkpoint = output.checkpoint
        sequence = _sequence_of(checkpoint.note) if checkpoint is not None else None
        if checkpoint is not None and sequence is not None:
            self._sequence = sequence
            if checkpoint.note == self.note:
                return max(start, checkpoint.next_offset)
        raise StreamViolation(
            f"{self._topic}[{self._partition}] holds no record any more and no checkpoint says how "
            "far it had come: going on could repeat events; "
            "`lockstream partner remove --delete-topic` and add the partner anew from a time"
        )

    def _read_position(self, record: Record) -> PartnerPosition:
        try:
            return PartnerPosition.from_kafka(record.headers)
        except ValueError as error:
            raise StreamViolation(
                f"{self._topic}[{self._partition}] offset {record.offset}: {error}"
            ) from error

    async def process(self, records: Sequence[Record]) -> Decided:
        """The partner's records that follow from these events. Values are decoded only to be
        delivered. What stands before a record that no projector wrote is still delivered.

        Raises:
            StreamViolation: the first record is one that no projector wrote: it goes to nobody.
        """
        outputs: list[Output] = []
        for taken, record in enumerate(records):
            try:
                headers = self._check(record)
                if delivers(headers, self._partner):
                    outputs.append(self._deliver(record, headers))
                # Only now: a record that goes to nobody is looked at again, and must fail alike.
                self._last_fact_offset = headers.source_offset
            except StreamViolation:
                if taken == 0:
                    raise
                return Decided(outputs, taken)
        return Decided(outputs, len(records))

    def _check(self, record: Record) -> EventHeaders:
        try:
            headers = EventHeaders.from_kafka(record.headers)
        except ValueError as error:
            raise StreamViolation(f"{self._where(record)}: {error}") from error
        if headers.source_offset <= self._last_fact_offset:
            raise StreamViolation(
                f"{self._where(record)}: its source-offset {headers.source_offset} does not follow "
                f"{self._last_fact_offset}"
            )
        return headers

    def _deliver(self, record: Record, headers: EventHeaders) -> Output:
        try:
            delivered = envelope(decode_event(record.value or b""), self._partner.id)
        except (ValueError, OverflowError) as error:
            raise StreamViolation(f"{self._where(record)}: {error}") from error
        self._sequence += 1
        return Output(
            self._topic,
            record.key,
            encode_envelope(delivered),
            partner_headers(
                delivered,
                source_offset=record.offset,
                sequence=self._sequence,
                trace=headers.trace,
            ),
        )

    def _where(self, record: Record) -> str:
        return f"{self._topics.lock_events}[{self._partition}] offset {record.offset}"

    async def committed(self, offsets: Sequence[int]) -> None:
        """Nothing to do: the output is the state."""


def _note(sequence: int, partner: Partner) -> str:
    return f"sequence={sequence};since={partner.created_at}"


def _sequence_of(note: str) -> int | None:
    match = re.match(r"^sequence=(\d+);", note)
    return int(match.group(1)) if match is not None else None
