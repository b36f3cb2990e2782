"""Finds out what has become of each parked fact: it waits, is recorded, parked again or discarded.
No topic holds that state as such. *Recorded* follows from the stream: an event has the fact's event
id, or that of its repair. The registry holds discards, and under which id a fact was repaired."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal
from uuid import UUID

import msgspec

from eventlog.kafka import stable_ends
from eventlog.log_reader import FEW_AT_ONCE, LogReader
from eventlog.records import Record
from eventlog.registry import Registry
from operations.shared.console import say
from operations.shared.installation import Installation
from read_model.parked_questions import ParkedAt, ParkedFate
from runtime.errors import ConfigurationError
from schemas.parked_facts import ParkedHeaders
from schemas.registry import ParkedDiscard, ParkedRepair

StateName = Literal["waiting", "recorded", "discarded", "parked-again"]


class ParkedPlace(msgspec.Struct, frozen=True, order=True):
    """Where a parked record stands in ``lock-facts.parked``."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


def read_place(text: str, partitions: int) -> ParkedPlace:
    """Reads where a parked fact stands.

    Raises:
        ConfigurationError: not ``PARTITION:OFFSET``.
    """
    match = re.fullmatch(r"([0-9]{1,4}):([0-9]{1,18})", text)
    if match is None or int(match.group(1)) >= partitions:
        raise ConfigurationError(
            f"{text!r} is not PARTITION:OFFSET; `lockstream parked list` shows them"
        )
    return _to_place(text)


def _to_place(text: str) -> ParkedPlace:
    partition, offset = text.split(":")
    return ParkedPlace(int(partition), int(offset))


class State(msgspec.Struct, frozen=True):
    """The state of a parked fact. ``version``: that of its event, if it is recorded. ``again``:
    where the same fact was parked later."""

    name: StateName
    version: int | None = None
    again: ParkedAt | None = None
    discard: ParkedDiscard | None = None

    def __str__(self) -> str:
        if self.discard is not None:
            return (
                f"discarded by {self.discard.by} at {self.discard.created_at}: {self.discard.why}"
            )
        if self.again is not None:
            return f"parked again as {ParkedPlace(*self.again.place)}"
        return f"recorded as version {self.version}" if self.version is not None else self.name


class ParkedRecord(msgspec.Struct, frozen=True):
    place: ParkedPlace
    headers: ParkedHeaders
    record: Record
    state: State


class Notes:
    """What operators have noted in the registry about parked facts: discards and repairs."""

    def __init__(self, registry: Registry) -> None:
        self.discards = {
            _to_place(place): entry
            for entry in registry.all(ParkedDiscard)
            for place in entry.places
        }
        self.repairs = {
            _to_place(entry.place): entry.event_id for entry in registry.all(ParkedRepair)
        }

    def event_ids(self, place: ParkedPlace, own: UUID | None) -> list[UUID]:
        """Returns the ids under which the fact may have become an event."""
        repaired = self.repairs.get(place)
        return [event_id for event_id in (own, repaired) if event_id is not None]


def state_of(
    place: ParkedPlace, own: UUID | None, notes: Notes, fates: Mapping[UUID, ParkedFate]
) -> State:
    """Decides the state of the fact at ``place``, whose event id is ``own``. Pure."""
    of_fact = [fates.get(event_id, ParkedFate()) for event_id in notes.event_ids(place, own)]
    for fate in of_fact:
        if fate.version is not None:
            return State("recorded", version=fate.version)
    if place in notes.discards:
        return State("discarded", discard=notes.discards[place])
    for fate in of_fact:
        if fate.latest is not None and _is_later(fate.latest, place):
            return State("parked-again", again=fate.latest)
    return State("waiting")


def _is_later(at: ParkedAt, place: ParkedPlace) -> bool:
    """Compares places, since the read model may be behind what is read from the topic."""
    partition, offset = at.place
    return partition != place.partition or offset > place.offset


def own_event_id(headers: ParkedHeaders) -> UUID | None:
    return UUID(headers.event_id) if headers.event_id is not None else None


async def read_parked(here: Installation, notes: Notes) -> AsyncIterator[list[ParkedRecord]]:
    """Yields all parked facts that retention has left until now, some hundred at a time.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        ReadModelUnavailable: the database can't be reached or is too slow.
    """
    topic = here.settings.topics.parked_facts
    ends = await stable_ends(here.kafka, topic, here.settings.topics.numbers)
    begins = await parked_begins(here)
    async with LogReader.open(here.kafka) as reader:
        async for records in reader.read(topic, begins, ends, FEW_AT_ONCE):
            yield await with_states(here, notes, records)


async def parked_begins(here: Installation) -> dict[int, int]:
    """Returns, by partition, the offset of the first parked fact that retention has left.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    async with here.kafka.offsets_client() as client:
        return await client.beginnings(
            here.settings.topics.parked_facts, here.settings.topics.numbers
        )


async def with_states(
    here: Installation, notes: Notes, records: Sequence[Record]
) -> list[ParkedRecord]:
    """Reads the records' headers and decides their states; skips what is no parked fact.

    Raises:
        ReadModelUnavailable: the database can't be reached or is too slow.
    """
    read: list[tuple[ParkedPlace, ParkedHeaders, Record]] = []
    for record in records:
        place = ParkedPlace(record.partition, record.offset)
        try:
            read.append((place, ParkedHeaders.from_kafka(record.headers), record))
        except ValueError as error:
            say(f"{place} is skipped, it is not a parked fact: {error}")
    event_ids = [i for place, h, _ in read for i in notes.event_ids(place, own_event_id(h))]
    fates = await here.read_model.parked.fates(event_ids)
    return [
        ParkedRecord(place, h, record, state_of(place, own_event_id(h), notes, fates))
        for place, h, record in read
    ]


async def find_parked(here: Installation, notes: Notes, place: ParkedPlace) -> ParkedRecord:
    """Reads the parked fact at ``place``.

    Raises:
        ConfigurationError: nothing is there, or not any more.
    """
    topic, partition = here.settings.topics.parked_facts, place.partition
    end = (await stable_ends(here.kafka, topic, [partition]))[partition]
    if (await parked_begins(here))[partition] <= place.offset < end:
        async with LogReader.open(here.kafka) as reader:
            one = {partition: place.offset}, {partition: place.offset + 1}
            async for records in reader.read(topic, *one):
                for found in await with_states(here, notes, records):
                    return found
    raise ConfigurationError(
        f"there is no parked fact at {place}; `lockstream parked list` shows them"
    )


async def count_waiting(here: Installation, registry: Registry) -> int:
    """Counts the facts that wait for an operator, by the read model.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
        ReadModelUnavailable: the database can't be reached or is too slow.
    """
    notes, begins = Notes(registry), await parked_begins(here)
    noted = [
        p
        for p in {*notes.discards, *notes.repairs}
        if p.offset >= begins.get(p.partition, p.offset + 1)
    ]
    at = await here.read_model.parked.event_ids_at((p.partition, p.offset) for p in noted)
    ids = {ParkedPlace(*place): event_id for place, event_id in at.items()}
    event_ids = [i for place, own in ids.items() for i in notes.event_ids(place, own)]
    fates = await here.read_model.parked.fates(event_ids)
    unrecorded = await here.read_model.parked.count_unrecorded(begins)
    settled = sum(
        state_of(place, own, notes, fates).name != "waiting"
        and _is_counted(place, None if own is None else fates[own])
        for place, own in ids.items()
    )
    return unrecorded - settled


def _is_counted(place: ParkedPlace, fate: ParkedFate | None) -> bool:
    """Tells whether ``count_unrecorded`` has counted the fact, at this place."""
    if fate is None:
        return True
    at = fate.latest
    return fate.version is None and at is not None and ParkedPlace(*at.place) == place
