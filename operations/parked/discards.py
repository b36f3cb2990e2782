"""Discards parked facts: the registry keeps who decided that they are not to become events."""

import getpass
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from eventlog.registry import Registry
from operations.parked.retries import is_wanted
from operations.parked.states import (
    Notes,
    ParkedPlace,
    ParkedRecord,
    find_parked,
    read_parked,
    read_place,
)
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError
from schemas.primitives import write_time
from schemas.registry import MAX_PLACES, ParkedDiscard


def operator_name() -> str:
    """Returns the login name of whoever runs this command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"


async def discard_places(
    here: Installation, notes: Notes, places: Sequence[ParkedPlace], why: str, by: str
) -> list[ParkedPlace]:
    """Discards all of these facts, or none.

    Raises:
        ConfigurationError: one is not there, is recorded, or is discarded already.
    """
    for place in places:
        check_discardable(await find_parked(here, notes, place))
    return await _write(here, sorted(set(places)), why, by, skip_discarded=False)


def check_discardable(found: ParkedRecord) -> None:
    """Checks that a fact waits, or may be discarded although it does not.

    Raises:
        ConfigurationError: it is recorded, discarded, or was parked again elsewhere.
    """
    if found.state.name == "recorded":
        raise ConfigurationError(
            f"{found.place} is {found.state} of its lock: there is nothing to discard"
        )
    if found.state.again is not None:
        raise ConfigurationError(
            f"{found.place} was {found.state}; discard {ParkedPlace(*found.state.again.place)}"
        )
    if found.state.name == "discarded":
        raise ConfigurationError(f"{found.place} is {found.state}")


async def discard_all(
    here: Installation, notes: Notes, reason: str, why: str, by: str
) -> list[ParkedPlace]:
    """Discards every waiting fact that was parked for ``reason``; returns the discarded."""
    places: list[ParkedPlace] = []
    async for chunk in read_parked(here, notes):
        places += [found.place for found in chunk if is_wanted(found, reason)]
    return await _write(here, places, why, by, skip_discarded=True)


async def _write(
    here: Installation, places: Sequence[ParkedPlace], why: str, by: str, *, skip_discarded: bool
) -> list[ParkedPlace]:
    now, name = write_time(datetime.now(UTC)), uuid4().hex

    def edit(registry: Registry) -> Sequence[ParkedDiscard]:
        """Refuses, or leaves out, what another operator has discarded meanwhile."""
        discards = Notes(registry).discards
        others = {place: e for place, e in discards.items() if not e.id.startswith(name)}
        left = [place for place in places if place not in others]
        if len(left) < len(places) and not skip_discarded:
            place = next(place for place in places if place in others)
            raise ConfigurationError(f"{place} was discarded by {others[place].by} just now")
        return [
            ParkedDiscard(
                id=f"{name}-{begin // MAX_PLACES}",
                places=tuple(str(place) for place in left[begin : begin + MAX_PLACES]),
                why=why,
                by=by,
                created_at=now,
            )
            for begin in range(0, len(left), MAX_PLACES)
        ]

    entries = await here.edit_registry(edit)
    partitions = here.settings.partitions
    return [read_place(text, partitions) for entry in entries for text in entry.places]
