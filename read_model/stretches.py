"""Reads back what a projector has written, and checks it against what only a projector writes."""

from collections.abc import Sequence

from read_model.fold import CommittedEvent, ParkedFact, Stretch
from runtime.errors import StreamViolation
from schemas.lock_events import EventHeaders, EventRecord, decode_event
from schemas.parked_facts import ParkedHeaders
from schemas.records import BadRecord, LogRecord, Place
from schemas.undecodable import Undecodable


def read_stretch(
    topic: str, records: Sequence[LogRecord], begin: int, previous_source: int
) -> tuple[Stretch, int]:
    """Reads records of one partition of ``lock-events``, and returns the largest ``source-offset``
    among them with their stretch.

    Raises:
        StreamViolation: not an event, headers missing, or ``source-offset`` not increasing.
    """
    committed: list[CommittedEvent] = []
    for record in records:
        value = record.value or b""
        try:
            source = EventHeaders.from_kafka(record.headers).source_offset
            event = decode_event(value)
            if source <= previous_source:
                EventRecord.read(topic, record).check_follows(previous_source)
        except Undecodable as error:
            raise StreamViolation(f"{Place.of(topic, record)}: {error}") from error
        except BadRecord as error:
            raise StreamViolation(str(error)) from error
        previous_source = source
        committed.append(CommittedEvent(record.offset, source, event, value))
    end = records[-1].offset + 1
    return Stretch(records[0].partition, begin, end, events=committed), previous_source


def read_parked(topic: str, record: LogRecord) -> ParkedFact:
    """Reads what ``lock-facts.parked`` says of a fact.

    Raises:
        StreamViolation: headers are missing or wrong.
    """
    try:
        return ParkedFact(record.offset, ParkedHeaders.read(topic, record))
    except BadRecord as error:
        raise StreamViolation(str(error)) from error
