"""Compares the read model's parked facts with ``lock-facts.parked``."""

from collections.abc import AsyncIterator, Sequence

from eventlog.kafka import Kafka
from eventlog.log_reader import FEW_AT_ONCE, LogReader
from eventlog.records import Record
from operations.audit.violations import Violation
from read_model.parked_questions import ParkedPage
from read_model.rows import StoredParked
from read_model.store import ReadModel
from runtime.errors import PositionLost
from schemas.parked_facts import ParkedHeaders

FETCH_BYTES = 256 * 1024
ROWS = 1_000
"""Rows that the model is asked for at once."""


class ParkedAudit:
    """Compares one partition of ``lock-facts.parked`` with its rows, batch by batch. The model may
    be behind, may move on meanwhile, and keeps what retention deletes. Nothing else may differ."""

    def __init__(self, kafka: Kafka, read_model: ReadModel, topic: str, partition: int) -> None:
        self._kafka = kafka
        self._read_model = read_model
        self._topic = topic
        self._partition = partition

    async def run(self, end: int) -> AsyncIterator[Violation]:
        """Yields the differences. ``end``: the offset up to which the topic is read.

        Raises:
            KafkaUnavailable: the log can't be read.
            PositionLost: records are gone, though the topic begins before them.
            ReadModelUnavailable: the database can't be asked.
        """
        begin = await self._beginning()
        while begin < end:
            try:
                async for violation in self._stretch(begin, end):
                    yield violation
                break
            except PositionLost:
                # Retention has moved on between the question and the reading.
                before, begin = begin, await self._beginning()
                if begin <= before:
                    raise
        async for violation in self._beyond(max(begin, end)):
            yield violation

    async def _stretch(self, begin: int, end: int) -> AsyncIterator[Violation]:
        p = self._partition
        async with LogReader.open(self._kafka, FETCH_BYTES) as reader:
            async for records in reader.read(self._topic, {p: begin}, {p: end}, FEW_AT_ONCE):
                upto = records[-1].offset + 1
                async for violation in self._compare(records, begin, upto):
                    yield violation
                begin = upto
        async for violation in self._compare((), begin, end):
            yield violation

    async def _compare(
        self, records: Sequence[Record], begin: int, end: int
    ) -> AsyncIterator[Violation]:
        """Compares ``records``, all of the topic's from ``begin`` to ``end``, with the rows."""
        while begin < end:
            page = await self._read_model.parked.page(self._partition, begin, end, ROWS)
            upto = max(page.rows) + 1 if len(page.rows) == ROWS else end
            here = [record for record in records if begin <= record.offset < upto]
            found = differences(self._topic, self._partition, here, page)
            if found:
                retained_from = await self._beginning()
                for violation in found:
                    if violation.offset >= retained_from:
                        yield violation
            begin = upto

    async def _beyond(self, end: int) -> AsyncIterator[Violation]:
        """Finds rows beyond the end of the topic: they come from another log."""
        last = await self._read_model.parked.last_offset(self._partition)
        if last is None or last < end:
            return
        async with self._kafka.offsets_client() as client:
            ends = await client.high_watermarks(self._topic, [self._partition])
        if last >= ends[self._partition]:
            detail = (
                f"read model: it holds a parked fact beyond the topic's end "
                f"({ends[self._partition]}): it is of another log; run `lockstream rebuild`"
            )
            yield Violation("read-model-differs", self._topic, self._partition, last, detail)

    async def _beginning(self) -> int:
        async with self._kafka.offsets_client() as client:
            begins = await client.beginnings(self._topic, [self._partition])
        return begins[self._partition]


def differences(
    topic: str, partition: int, records: Sequence[Record], page: ParkedPage
) -> list[Violation]:
    """Finds rows that are missing, that differ, and that no record stands for. Pure."""
    found: list[Violation] = []
    left = dict(page.rows)

    def differs(offset: int, detail: str) -> None:
        text = f"read model: {detail}"
        found.append(Violation("read-model-differs", topic, partition, offset, text))

    for record in records:
        row = left.pop(record.offset, None)
        try:
            headers = ParkedHeaders.from_kafka(record.headers)
        except ValueError as error:
            unreadable = Violation(
                "unreadable-record", topic, partition, record.offset, f"no parked fact: {error}"
            )
            found.append(unreadable)
            continue
        if row is None:
            if _is_due(record.offset, headers, page):
                differs(record.offset, "it does not hold this parked fact")
        elif row != StoredParked.of(headers):
            differs(record.offset, "it holds this parked fact otherwise")
    for offset in left:
        differs(offset, "it holds a parked fact that is not in the topic")
    return found


def _is_due(offset: int, headers: ParkedHeaders, page: ParkedPage) -> bool:
    """Tells whether the model has to hold this parked fact already. Parked facts are folded before
    the events beside them, so lag explains no gap before the last event that is folded in."""
    return offset < page.parked.next_offset or headers.source_offset < page.events.source_offset
