"""The registry holds organisations, API keys and partners, followed from a compacted topic."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from eventlog.clients.client import REQUEST_TIMEOUT_S
from eventlog.kafka import Kafka
from eventlog.kafka_errors import kafka_errors
from eventlog.log_reader import LogReader
from eventlog.records import Output, Record
from eventlog.tail import FIRST, Tail
from eventlog.transactional_writer import Outputs, TransactionalWriter
from runtime.errors import KafkaUnavailable, OutputUncertain
from runtime.waiting import within
from schemas.registry import (
    ApiKey,
    ApiKeyUse,
    Entry,
    LaneCount,
    Organization,
    ParkedDiscard,
    ParkedRepair,
    Partner,
    PositionKey,
    Replay,
    decode_entry,
    encode_entry,
    entry_key,
)
from schemas.undecodable import Undecodable

log = logging.getLogger(__name__)

EDIT_ATTEMPTS = 5

T = TypeVar("T", bound="Entry | Removal")
E = TypeVar("E", Organization, ApiKey, Partner, Replay, ParkedDiscard, ParkedRepair)


class Registry:
    """Holds the latest entry of every key."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._changed = asyncio.Event()

    def take(self, topic: str, records: Sequence[Record]) -> None:
        """Takes records of the registry topic in, oldest first."""
        for record in records:
            key = record.key or b""
            if record.value is None:
                self._entries.pop(key, None)
                continue
            try:
                self._entries[key] = _read_entry(key, record.value)
            except Undecodable as error:
                # A newer writer's entry must not lock everybody out: the others stay valid.
                log.error("%s offset %s is not an entry: %s", topic, record.offset, error)
        self._changed.set()

    async def changed(self) -> None:
        """Returns when something may have changed since it last returned."""
        await self._changed.wait()
        self._changed.clear()

    def api_key(self, key_id: str) -> ApiKey | None:
        entry = self._entries.get(f"key/{key_id}".encode())
        return entry if isinstance(entry, ApiKey) else None

    def api_key_use(self, key_id: str) -> ApiKeyUse | None:
        entry = self._entries.get(f"key-use/{key_id}".encode())
        return entry if isinstance(entry, ApiKeyUse) else None

    def organization(self, org_id: str) -> Organization | None:
        entry = self._entries.get(f"org/{org_id}".encode())
        return entry if isinstance(entry, Organization) else None

    def partner(self, partner_id: str) -> Partner | None:
        entry = self._entries.get(f"partner/{partner_id}".encode())
        return entry if isinstance(entry, Partner) else None

    def current(self, entry: Entry) -> Entry | None:
        """Returns what stands under the key of an entry now."""
        return self._entries.get(entry_key(entry))

    def replay(self, partner_id: str, number: int) -> Replay | None:
        entry = self._entries.get(f"replay/{partner_id}/{number}".encode())
        return entry if isinstance(entry, Replay) else None

    def replays(self, partner_id: str) -> list[Replay]:
        """Returns all replays of a partner, by number."""
        own = [entry for entry in self.all(Replay) if entry.partner_id == partner_id]
        return sorted(own, key=lambda entry: entry.number)

    @property
    def lane_count(self) -> LaneCount | None:
        entry = self._entries.get(b"lanes")
        return entry if isinstance(entry, LaneCount) else None

    @property
    def position_key(self) -> PositionKey | None:
        entry = self._entries.get(b"position-key")
        return entry if isinstance(entry, PositionKey) else None

    def all(self, kind: type[E]) -> list[E]:
        """Returns all entries of one kind, by key."""
        return [e for _, e in sorted(self._entries.items()) if isinstance(e, kind)]


def _read_entry(key: bytes, value: bytes) -> Entry:
    """Returns the entry.

    Raises:
        Undecodable: it is no entry, or stands under another one's key.
    """
    entry = decode_entry(value)
    if entry_key(entry) != key:
        raise Undecodable(f"its key is not {entry_key(entry).decode()}")
    return entry


def registry_tail(kafka: Kafka, topic: str, registry: Registry) -> Tail:
    """Returns a tail that keeps ``registry`` up to date from the topic's first record on."""
    return Tail(kafka, {topic: {0: FIRST}}, registry.take)


async def read_registry(kafka: Kafka, topic: str) -> Registry:
    """Returns the registry as it stands now.

    Raises:
        KafkaUnavailable: the broker can't be reached in time.
    """
    registry = Registry()
    async with kafka.offsets_client() as client:
        begin = await client.beginnings(topic, [0])
        end = await client.high_watermarks(topic, [0])
    async with LogReader.open(kafka) as reader:
        async for records in reader.read(topic, begin, end):
            registry.take(topic, records)
    return registry


async def write_entries(kafka: Kafka, topic: str, entries: Sequence[Entry]) -> None:
    """Adds entries or replaces those of the same key.

    Raises:
        KafkaUnavailable: the broker can't be reached in time; some may have been written.
    """
    async with kafka.idempotent_producer() as producer:
        for entry in entries:
            with kafka_errors(f"writing to {topic}"):
                await within(producer.send_and_wait(_output(topic, entry), 0), REQUEST_TIMEOUT_S)


class Removal(msgspec.Struct, frozen=True):
    """Names an entry that is to be there no more: its key gets a tombstone."""

    entry: Organization


async def edit_registry(
    kafka: Kafka, topic: str, edit: Callable[[Registry], Sequence[T]]
) -> Sequence[T]:
    """Writes what ``edit`` makes of the registry as it stands: all of it or nothing.

    Editors fence each other: the one that comes later sees what the earlier wrote, and the earlier
    begins again. ``edit`` may be called again, also after its entries were written; what it raises
    ends the edit.

    Raises:
        KafkaUnavailable: the broker can't be reached in time, or others edit without an end.
    """

    async def write(writer: TransactionalWriter, registry: Registry) -> Sequence[T]:
        changes = edit(registry)
        if changes:
            await writer.write(_outputs(topic, changes))
        return changes

    return await _edit(kafka, topic, write)


async def edit_registry_held(
    kafka: Kafka,
    topic: str,
    hold: Callable[[Registry], Sequence[T]],
    edit: Callable[[Registry], Awaitable[Sequence[T]]],
) -> Sequence[T]:
    """Writes what ``edit`` makes, like ``edit_registry``, and until that stands nobody can read
    the registry to its end: whoever has to, before it begins to work, begins with what was written.

    ``hold`` returns entries as they stand, which are written first, in the same transaction; if it
    returns none, nothing is done. Both may be called again. Should the process die in between, all
    stays as it was, and the registry is free again once the broker gives the transaction up (10 s).

    Raises:
        KafkaUnavailable: the broker can't be reached in time, or others edit without an end.
    """

    async def write(writer: TransactionalWriter, registry: Registry) -> Sequence[T]:
        held = hold(registry)
        if not held:
            return []
        changes: list[T] = []

        async def make() -> Outputs:
            changes.extend(await edit(registry))
            return _outputs(topic, changes)

        try:
            await writer.write_held(_outputs(topic, held), make)
        except OutputUncertain:
            raise
        except Exception:
            # Nobody should have to wait for the broker to give up.
            await TransactionalWriter.end(kafka, _editor(topic))
            raise
        return changes

    return await _edit(kafka, topic, write)


async def _edit(
    kafka: Kafka,
    topic: str,
    write: Callable[[TransactionalWriter, Registry], Awaitable[Sequence[T]]],
) -> Sequence[T]:
    for attempt in range(EDIT_ATTEMPTS):
        # Two that fence each other in turn must fall out of step.
        await asyncio.sleep(attempt * random.uniform(0.05, 0.5))
        writer = await TransactionalWriter.fence(kafka, _editor(topic))
        try:
            return await write(writer, await read_registry(kafka, topic))
        except OutputUncertain as error:
            log.debug("editing %s again: %s", topic, error)
        finally:
            await writer.discard()
    raise KafkaUnavailable(f"editing {topic}: others edit it at the same time; try again")


def _editor(topic: str) -> str:
    """Names the transactional id under which everybody edits, so that editors fence each other."""
    return f"editor.{topic}.0"


def _outputs(topic: str, changes: Sequence[Entry | Removal]) -> Outputs:
    return {0: [_output(topic, change) for change in changes]}


def _output(topic: str, change: Entry | Removal) -> Output:
    if isinstance(change, Removal):
        return Output(topic, entry_key(change.entry), None)
    return Output(topic, entry_key(change), encode_entry(change))
