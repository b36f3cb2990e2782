"""Changes what types of events a partner gets, from an offset of each partition on that is told.

The offsets have to lie beyond all that any fan-out has decided on with the types of before, and
none may go beyond them until it knows the new ones. So the change is one transaction of the
registry. While it is open, no fan-out can confirm what it serves (``fanout.registrations``). Then
all of the partner's lanes are fenced, so that whoever goes on has to confirm. Then the ends of the
log are taken, beyond which nobody has decided on anything. Whoever confirms next reads the new
entry. A process that dies in between leaves nothing behind: the transaction is aborted, and the old
entry holds.
"""

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from eventlog.kafka import Kafka
from eventlog.registry import Registry, edit_registry_held
from eventlog.stage.lane_count import fanout_ids
from eventlog.transactional_writer import TransactionalWriter
from operations.partners.entries import live_partner
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError
from schemas.registry import MAX_CHANGES, EarlierTypes, Partner
from schemas.topics import LockTopics

FENCED_AT_ONCE = 16


class Subscription(msgspec.Struct, frozen=True):
    """Says what types a partner gets. ``since``: per partition of ``lock-events``, the first offset
    at which they hold."""

    entry: Partner
    since: tuple[int, ...]


async def change_types(here: Installation, partner_id: str, types: tuple[str, ...]) -> Subscription:
    """Changes what types of events a partner gets. Nothing changes if it gets these already.

    Raises:
        ConfigurationError: there is no such partner, or its types were changed too often.
        KafkaUnavailable: the broker can't be reached in time; the types are what they were.
    """
    topics = here.settings.topics

    def hold(registry: Registry) -> Sequence[Partner]:
        entry = live_partner(registry, partner_id)
        if set(entry.types) == set(types):
            return []
        _check_changes(entry)
        return [entry]

    async def edit(registry: Registry) -> Sequence[Partner]:
        await _fence(here.kafka, fanout_ids(topics, registry, partner_id))
        since = await _ends(here.kafka, topics)
        return [with_types(live_partner(registry, partner_id), types, since)]

    changed = await edit_registry_held(here.kafka, topics.registry, hold, edit)
    entry = changed[0] if changed else live_partner(await here.read_registry(), partner_id)
    return Subscription(entry, since(entry))


def with_types(entry: Partner, types: tuple[str, ...], since: tuple[int, ...]) -> Partner:
    """Returns the entry with other types from these offsets on."""
    before = EarlierTypes(entry.types, since)
    return msgspec.structs.replace(entry, types=types, earlier=(*entry.earlier, before))


def since(entry: Partner) -> tuple[int, ...]:
    """Returns from where on a partner's types hold."""
    return entry.earlier[-1].until if entry.earlier else entry.start_offsets


def _check_changes(entry: Partner) -> None:
    if len(entry.earlier) >= MAX_CHANGES:
        raise ConfigurationError(
            f"partner {entry.id}: its types were changed {MAX_CHANGES} times, and no entry holds "
            "more; add another partner with the types that it is to get"
        )


async def _fence(kafka: Kafka, transactional_ids: Iterable[str]) -> None:
    """Takes over every id that somebody may write under."""
    free = asyncio.Semaphore(FENCED_AT_ONCE)

    async def fence(transactional_id: str) -> None:
        async with free:
            await TransactionalWriter.end(kafka, transactional_id)

    await asyncio.gather(*(fence(one) for one in transactional_ids))


async def _ends(kafka: Kafka, topics: LockTopics) -> tuple[int, ...]:
    async with kafka.offsets_client() as client:
        ends = await client.high_watermarks(topics.lock_events, topics.numbers)
    return tuple(ends[p] for p in topics.numbers)
