"""Removes an organisation from the registry, if nothing belongs to it any more."""

from collections.abc import Sequence

from eventlog.kafka import stable_ends
from eventlog.log_reader import LogReader
from eventlog.registry import Registry, Removal
from operations.organizations.organizations import live_keys, partners_of
from operations.shared.installation import Installation
from read_model.rows import Position
from read_model.tables import LOCK_EVENTS
from runtime.errors import ConfigurationError, ReadModelUnavailable


async def remove_organization(here: Installation, org_id: str) -> None:
    """Removes an organisation.

    Raises:
        ConfigurationError: there is no such organisation, or it has locks, live keys or partners.
        Unavailable: Kafka or the read model can't be asked, or the latter is behind.
    """
    locks = await _count_locks(here, org_id)

    def edit(registry: Registry) -> Sequence[Removal]:
        entry = registry.organization(org_id)
        if entry is None:
            raise ConfigurationError(
                f"there is no organisation {org_id}; `lockstream org list` shows all"
            )
        _check_unused(registry, org_id, locks)
        return [Removal(entry)]

    await here.edit_registry(edit)


def _check_unused(registry: Registry, org_id: str, locks: int) -> None:
    keys = [key.key_id for key in live_keys(registry, org_id)]
    partners = [partner.id for partner in partners_of(registry, org_id)]
    if partners:
        raise ConfigurationError(
            f"organisation {org_id} has the partner {partners[0]}{_and_more(partners)}; "
            "`lockstream partner remove` it first"
        )
    if keys:
        raise ConfigurationError(
            f"organisation {org_id} has the live key {keys[0]}{_and_more(keys)}; "
            "`lockstream key revoke` it first"
        )
    if locks:
        raise ConfigurationError(
            f"organisation {org_id} has {locks:,} locks; `lockstream lock move` them first"
        )


def _and_more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


async def _count_locks(here: Installation, org_id: str) -> int:
    """Counts the locks by the read model, which must have folded the whole stream in.

    Raises:
        ReadModelUnavailable: it has not.
    """
    topic = here.settings.topics.lock_events
    ends = await stable_ends(here.kafka, topic, here.settings.topics.numbers)
    positions = await here.read_model.positions(LOCK_EVENTS)
    for partition, end in ends.items():
        at = positions.get(partition, Position()).next_offset
        if at < end and await _holds_records(here, topic, partition, at, end):
            raise ReadModelUnavailable(
                f"the read model is behind in partition {partition} of {topic}: whose the locks "
                "are can't be known yet; try again"
            )
    return await here.read_model.count_locks_of(org_id)


async def _holds_records(
    here: Installation, topic: str, partition: int, begin: int, end: int
) -> bool:
    """Tells records from a transaction's marker, which follows the last event and is not folded."""
    async with LogReader.open(here.kafka) as reader:
        async for _ in reader.read(topic, {partition: begin}, {partition: end}):
            return True
    return False
