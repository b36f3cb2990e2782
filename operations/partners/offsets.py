"""``lockstream partner offsets``: tells where in a partner's topic the events of a time begin."""

from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from eventlog.kafka import stable_ends
from eventlog.log_reader import LogReader
from eventlog.records import Record
from eventlog.topic_setup import topic_exists
from operations.partners.entries import no_such_partner
from operations.shared.console import Advance, print_json, print_table, progress_bar, say, show
from operations.shared.durations import read_moment
from operations.shared.installation import Installation, run_on_installation
from operations.shared.options import AsJson
from runtime.errors import ConfigurationError
from schemas.primitives import read_time, write_time
from schemas.undecodable import NamedHeaders, Undecodable


class Place(msgspec.Struct, frozen=True):
    """Says where a partition is to be read from. ``time``: when the event there happened; None if
    nothing is there: it is the end."""

    partition: int
    offset: int
    time: str | None


class Offsets(msgspec.Struct, frozen=True):
    """Holds a place in each partition of a partner's topic."""

    topic: str
    at: datetime
    places: list[Place]


def show_offsets(
    partner_id: Annotated[str, typer.Option("--id", help="The partner's id.")],
    at: Annotated[
        str,
        typer.Option(help="A time: 2026-11-23 or 2026-11-23T10:00:00Z; UTC if it names no zone."),
    ],
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv", help="Print lines for `kafka-consumer-groups --reset-offsets --from-file`."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where in each partition of a partner's topic the events of a time begin.

    It is the offset of the first record whose event did not happen before that time, by its header
    ce_time. Those need not increase from record to record: each partition is read from its
    beginning to the first record whose ce_time is not before the time, and records behind it may be
    of earlier. Where there is no such record, it is the offset of the end.

    Kafka's own search by time (offsetsForTimes, --to-datetime) goes by the record's timestamp. That
    is when it was delivered, because retention counts from it."""

    async def find(here: Installation) -> Offsets:
        if as_csv and as_json:
            raise ConfigurationError("--csv, --json: choose one of them")
        return await find_offsets(here, partner_id, read_at(at, datetime.now(UTC)))

    found = run_on_installation(find)
    if as_csv:
        for place in found.places:
            show(f"{found.topic},{place.partition},{place.offset}")
    elif as_json:
        print_json(
            {
                "id": partner_id,
                "topic": found.topic,
                "at": write_time(found.at),
                "partitions": [msgspec.to_builtins(place) for place in found.places],
            }
        )
    else:
        print_table(
            ("partition", "offset", "time"),
            [(place.partition, place.offset, place.time or "(the end)") for place in found.places],
        )


def read_at(text: str, now: datetime) -> datetime:
    """Reads the time that is asked for.

    Raises:
        ConfigurationError: it is no time, or one to come: nothing can be there yet.
    """
    try:
        moment = read_moment(text.strip())
    except ConfigurationError as error:
        raise ConfigurationError(f"--at: {error}") from error
    if moment > now:
        raise ConfigurationError(f"--at: {moment.isoformat()} is yet to come")
    return moment


async def find_offsets(here: Installation, partner_id: str, at: datetime) -> Offsets:
    """Finds the first record in each partition whose event did not happen before ``at``.

    Raises:
        ConfigurationError: there is no such partner, or it has no topic.
        KafkaUnavailable: the broker can't be reached in time.
        PositionLost: retention has deleted records meanwhile: try again.
    """
    topic, numbers = here.settings.topics.partner_events(partner_id), here.settings.topics.numbers
    # A removed partner's topic stays, and can still be read.
    if (await here.read_registry()).partner(partner_id) is None:
        raise no_such_partner(partner_id)
    if not await topic_exists(here.kafka, topic):
        raise ConfigurationError(f"partner {partner_id} has no topic (yet): {topic} is not there")
    async with here.kafka.offsets_client() as client:
        begin = await client.beginnings(topic, numbers)
    end = await stable_ends(here.kafka, topic, numbers)
    size = sum(end[p] - begin[p] for p in numbers)
    async with LogReader.open(here.kafka, fetch_wait_ms=20) as reader:
        with progress_bar(f"looking through {topic}", size, "offsets") as advance:
            places = [
                await _find(reader, topic, number, (begin[number], end[number]), at, advance)
                for number in numbers
            ]
    return Offsets(topic, at, places)


async def _find(
    reader: LogReader,
    topic: str,
    number: int,
    stretch: tuple[int, int],
    at: datetime,
    advance: Advance,
) -> Place:
    begin, end = stretch
    reached = begin
    found = Place(number, end, None)
    async with aclosing(reader.read(topic, {number: begin}, {number: end})) as batches:
        async for records in batches:
            place = next((p for record in records if (p := _place(record, at)) is not None), None)
            if place is not None:
                found = place
                break
            advance(records[-1].offset + 1 - reached)
            reached = records[-1].offset + 1
    advance(max(0, end - reached))
    return found


def _place(record: Record, at: datetime) -> Place | None:
    """Returns the record's place, if its event did not happen before ``at``. A record that no
    fan-out wrote has no time."""
    try:
        text = NamedHeaders(record.headers).text("ce_time")
        moment = read_time(text)
    except (Undecodable, ValueError) as error:
        say(f"{record.partition}:{record.offset} is passed over, it is no event: {error}")
        return None
    return Place(record.partition, record.offset, text) if moment >= at else None
