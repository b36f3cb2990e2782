"""What a projector has written, read back, and checked against what only a projector writes."""

from collections.abc import Sequence

from eventlog.records import Record
from read_model.fold import CommittedEvent, ParkedFact, Stretch
from runtime.errors import StreamViolation
from schemas.lock_events import EventHeaders, decode_event
from schemas.parked_facts import ParkedHeaders


def read_stretch(
    topic: str, records: Sequence[Record], begin: int, previous_source: int
) -> tuple[Stretch, int]:
    """Records of one partition of ``lock-events``, and the largest ``source-offset`` among them.

    Raises:
        StreamViolation: not an event, headers missing, or ``source-offset`` not increasing.
    """
    committed: list[CommittedEvent] = []
    for record in records:
        where = f"{topic}[{record.partition}] offset {record.offset}"
        committed.append(_read_event(record, previous_source, where))
        previous_source = committed[-1].source_offset
    end = records[-1].offset + 1
    return Stretch(records[0].partition, begin, end, events=committed), previous_source


def _read_event(record: Record, previous_source: int, where: str) -> CommittedEvent:
    value = record.value or b""
    try:
        headers = EventHeaders.from_kafka(record.headers)
        event = decode_event(value)
    except ValueError as error:
        raise StreamViolation(f"{where}: {error}") from error
    if headers.source_offset <= previous_source:
        raise StreamViolation(
            f"{where}: its source-offset {headers.source_offset} does not follow {previous_source}"
        )
    return CommittedEvent(record.offset, headers.source_offset, event, value)


def read_parked(topic: str, record: Record) -> ParkedFact:
    """
    Raises:
        StreamViolation: headers are missing or wrong.
    """
    try:
        return ParkedFact(record.offset, ParkedHeaders.from_kafka(record.headers))
    except ValueError as error:
        where = f"{topic}[{record.partition}] offset {record.offset}"
        raise StreamViolation(f"{where}: {error}") from error
