"""``lockstream parked …``: facts that could not become events, and their second chance."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from lockstream.eventlog.kafka import Record, beginnings, connected, stable_ends
from lockstream.eventlog.log_reader import LogReader
from lockstream.eventlog.publisher import FactPublisher
from lockstream.operations.console import print_json, print_table, say
from lockstream.operations.installation import (
    Installation,
    open_installation,
    require_read_model,
    run_verb,
)
from lockstream.runtime.errors import ConfigurationError, LockstreamError, Unavailable
from lockstream.runtime.tracing import NoTracing
from lockstream.schemas.lock_facts import Fact, decode_fact
from lockstream.schemas.parked_facts import ParkedHeaders, original_headers
from lockstream.schemas.trace_context import TraceContext
from lockstream.schemas.undecodable import Undecodable

parked = typer.Typer(no_args_is_help=True, help="Facts that could not become events.")

OUTCOME_S = 15.0
PUBLISH_S = 10.0

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
PlaceArgument = Annotated[str, typer.Argument(help="PARTITION:OFFSET, as `parked list` shows it.")]


class Place(msgspec.Struct, frozen=True):
    """Where a parked record stands in ``lock-facts.parked``."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


def read_place(text: str, partitions: int) -> Place:
    """
    Raises:
        ConfigurationError: not ``PARTITION:OFFSET``.
    """
    match = re.fullmatch(r"(\d{1,4}):(\d{1,18})", text)
    if match is None or int(match.group(1)) >= partitions:
        raise ConfigurationError(f"{text!r} is no PARTITION:OFFSET; `lockstream parked list`")
    return Place(int(match.group(1)), int(match.group(2)))


class ParkedAgain(LockstreamError):
    """A fact that was tried again could not become an event this time either."""


@parked.command("list")
def list_parked(as_json: Json = False) -> None:
    """List the parked facts that retention (30 days) has left."""

    async def verb() -> list[dict[str, object]]:
        async with open_installation() as here:
            return [_row(record) async for record in _all(here)]

    rows = run_verb(verb)
    if as_json:
        print_json(rows)
    else:
        columns = ("place", "parkedAt", "reason", "lockId", "detail")
        print_table(columns, [[row[name] for name in columns] for row in rows])


async def _all(here: Installation) -> AsyncIterator[Record]:
    topic, numbers = here.settings.topics.parked_facts, list(range(here.settings.partitions))
    ends = await stable_ends(here.kafka, topic, numbers)
    async with connected(here.kafka.offsets_client()) as client:
        begins = await beginnings(client, topic, numbers)
    async with LogReader.open(here.kafka) as reader:
        async for records in reader.read(topic, begins, ends):
            for record in records:
                yield record


def _row(record: Record) -> dict[str, object]:
    headers = ParkedHeaders.from_kafka(record.headers)
    return {
        "place": str(Place(record.partition, record.offset)),
        "parkedAt": headers.parked_at,
        "reason": headers.reason,
        "lockId": headers.lock_id,
        "orgId": headers.org_id,
        "eventId": headers.event_id,
        "detail": headers.detail,
        "sourceOffset": headers.source_offset,
    }


@parked.command("show")
def show_parked(place: PlaceArgument) -> None:
    """Show a parked fact: why it is there on stderr, its value, byte for byte, on stdout."""

    async def verb() -> Record:
        async with open_installation() as here:
            return await _find(here, read_place(place, here.settings.partitions))

    record = run_verb(verb)
    for name, value in _row(record).items():
        say(f"{name:12} {value}")
    typer.get_binary_stream("stdout").write((record.value or b"") + b"\n")


async def _find(here: Installation, place: Place) -> Record:
    topic = here.settings.topics.parked_facts
    begin, end = {place.partition: place.offset}, {place.partition: place.offset + 1}
    if place.offset < (await stable_ends(here.kafka, topic, [place.partition]))[place.partition]:
        async with LogReader.open(here.kafka) as reader:
            async for records in reader.read(topic, begin, end):
                return records[0]
    raise ConfigurationError(f"there is no parked fact at {place}; `lockstream parked list`")


@parked.command("retry")
def retry_parked(
    place: PlaceArgument,
    repaired: Annotated[
        Path | None,
        typer.Option("--value", help="A file with the repaired fact, to be used instead."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Put a parked fact back through `lock-facts`, and wait for what becomes of it. However often
    it is retried, it becomes one event."""
    value = repaired.read_bytes() if repaired is not None else None

    async def verb() -> int:
        async with open_installation() as here:
            await require_read_model(here)
            where = read_place(place, here.settings.partitions)
            return await _retry(here, where, value)

    version = run_verb(verb)
    if as_json:
        print_json({"place": place, "status": "recorded", "version": version})
    else:
        say(f"{place} is recorded as version {version} of its lock")


async def _retry(here: Installation, place: Place, repaired: bytes | None) -> int:
    record = await _find(here, place)
    try:
        fact = decode_fact(repaired if repaired is not None else record.value or b"")
    except Undecodable as error:
        raise ConfigurationError(
            f"{place} can't be read ({error}); write a repaired fact to a file and name it by "
            "--value"
        ) from error
    before = await here.read_model.event(fact.event_id)
    if before is not None:
        return before.version
    trace = TraceContext.of(original_headers(record.headers))
    publisher = FactPublisher(
        here.kafka,
        here.settings.topics.lock_facts,
        here.settings.partitions,
        PUBLISH_S,
        NoTracing(),
    )
    try:
        published = await publisher.publish(fact, trace)
    finally:
        await publisher.close()
    return await _outcome(here, fact, published.offset)


async def _outcome(here: Installation, fact: Fact, source_offset: int) -> int:
    """
    Raises:
        ParkedAgain: with the reason.
        Unavailable: the projector does not get to it in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + OUTCOME_S
    while loop.time() < deadline:
        event = await here.read_model.event(fact.event_id)
        if event is not None:
            return event.version
        again = await here.read_model.parked_fact(fact.event_id)
        if again is not None and again.source_offset >= source_offset:
            raise ParkedAgain(f"it was parked again: {again.reason}: {again.detail}")
        await asyncio.sleep(0.05)
    raise Unavailable("the fact is recorded, but the projector has not got to it: is it running?")
