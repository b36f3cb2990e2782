"""Puts parked facts back into ``lock-facts``, and waits for what becomes of them."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from eventlog.publisher import FactPublisher, Published
from eventlog.registry import Registry
from operations.parked.states import (
    Notes,
    ParkedPlace,
    ParkedRecord,
    own_event_id,
    read_parked,
)
from operations.shared.installation import Installation
from runtime.errors import ConfigurationError, LockstreamError, Unavailable
from schemas.lock_facts import Fact, decode_fact
from schemas.parked_facts import original_headers
from schemas.primitives import write_time
from schemas.registry import ParkedRepair
from schemas.trace_context import TraceContext
from schemas.undecodable import Undecodable

OUTCOME_S = 15.0
"""Seconds without progress after which the projector counts as not running."""

PUBLISH_S = 10.0
POLL_S = 0.05
SHOWN_FAILURES = 100


class ParkedAgain(LockstreamError):
    """A fact that was retried could not become an event this time either."""


class Failure(msgspec.Struct, frozen=True):
    place: str
    reason: str
    detail: str


class Retried(msgspec.Struct, rename="camel"):
    """Counts what became of many facts. ``unreadable``: each needs a repaired value.
    ``failures``: the first hundred that were not recorded."""

    recorded: int = 0
    parked_again: int = 0
    unreadable: int = 0
    failures: list[Failure] = []

    def fail(self, place: ParkedPlace, reason: str, detail: str) -> None:
        if len(self.failures) < SHOWN_FAILURES:
            self.failures.append(Failure(str(place), reason, detail))


async def retry_one(
    here: Installation, found: ParkedRecord, repaired: bytes | None, by: str
) -> int:
    """Retries one fact; returns the version that it has, or gets.

    Raises:
        ConfigurationError: it is discarded, or can't be read.
        ParkedAgain: with the reason.
        Unavailable: the projector, Kafka or the read model takes too long.
    """
    if found.state.version is not None:
        return found.state.version
    if found.state.name == "discarded":
        raise ConfigurationError(f"{found.place} is not retried: it was {found.state}")
    try:
        fact = decode_fact(repaired if repaired is not None else found.record.value or b"")
    except Undecodable as error:
        raise ConfigurationError(
            f"{found.place} can't be read ({error}); write a repaired fact to a file and name the "
            "file with --value"
        ) from error
    if repaired is not None and fact.event_id != own_event_id(found.headers):
        # Before the fact, so that no event lacks the note of where it came from.
        await _note_repair(here, found.place, fact, by)
    async with here.fact_publisher(PUBLISH_S) as publisher:
        published = await publisher.publish(fact, _trace(found))
    outcome = Retried()
    versions = await _settle(here, {found.place: (fact, published)}, outcome)
    if found.place in versions:
        return versions[found.place]
    failure = outcome.failures[0]
    raise ParkedAgain(f"it was parked again: {failure.reason}: {failure.detail}")


async def _note_repair(here: Installation, place: ParkedPlace, fact: Fact, by: str) -> None:
    entry = ParkedRepair(
        place=str(place), event_id=fact.event_id, by=by, created_at=write_time(datetime.now(UTC))
    )

    def edit(registry: Registry) -> Sequence[ParkedRepair]:
        discard = Notes(registry).discards.get(place)
        if discard is not None:
            raise ConfigurationError(f"{place} is not retried: {discard.by} discarded it just now")
        return [entry]

    await here.edit_registry(edit)


async def retry_all(here: Installation, notes: Notes, reason: str | None) -> Retried:
    """Retries every waiting fact once, or those that were parked for ``reason``. Facts that are
    parked again meanwhile are not retried.

    Raises:
        Unavailable: the projector, Kafka or the read model takes too long.
    """
    outcome = Retried()
    async with here.fact_publisher(PUBLISH_S) as publisher:
        async for chunk in read_parked(here, notes):
            await _retry_some(
                here, publisher, [found for found in chunk if is_wanted(found, reason)], outcome
            )
    return outcome


def is_wanted(found: ParkedRecord, reason: str | None) -> bool:
    return found.state.name == "waiting" and reason in (None, found.headers.reason)


async def _retry_some(
    here: Installation, publisher: FactPublisher, some: Sequence[ParkedRecord], outcome: Retried
) -> None:
    facts: dict[ParkedPlace, Fact] = {}
    for found in some:
        try:
            facts[found.place] = decode_fact(found.record.value or b"")
        except Undecodable as error:
            outcome.unreadable += 1
            outcome.fail(found.place, "undecodable", str(error))
    traces = {found.place: _trace(found) for found in some}
    # One after the other within a lock: gather sends in this order.
    published = await asyncio.gather(
        *(publisher.publish(fact, traces[place]) for place, fact in facts.items()),
        return_exceptions=True,
    )
    sent: dict[ParkedPlace, tuple[Fact, Published]] = {}
    for (place, fact), at in zip(facts.items(), published, strict=True):
        if isinstance(at, BaseException):
            raise at
        sent[place] = (fact, at)
    await _settle(here, sent, outcome)


async def _settle(
    here: Installation, sent: Mapping[ParkedPlace, tuple[Fact, Published]], outcome: Retried
) -> dict[ParkedPlace, int]:
    """Waits for what becomes of the facts; returns the versions of those that are recorded.

    Raises:
        Unavailable: no progress for 15 s.
    """
    loop = asyncio.get_running_loop()
    waiting, versions = dict(sent), dict[ParkedPlace, int]()
    deadline = loop.time() + OUTCOME_S
    while waiting:
        fates = await here.read_model.parked.fates(fact.event_id for fact, _ in waiting.values())
        for place, (fact, published) in list(waiting.items()):
            fate = fates[fact.event_id]
            if fate.version is not None:
                outcome.recorded += 1
                versions[place] = fate.version
            elif (at := fate.latest) is not None and (
                at.place[0] == published.partition and at.source_offset >= published.offset
            ):
                outcome.parked_again += 1
                outcome.fail(place, at.reason, at.detail)
            else:
                continue
            del waiting[place]
            deadline = loop.time() + OUTCOME_S
        if waiting and loop.time() > deadline:
            raise Unavailable(
                f"{len(waiting)} facts are back in the topic, but the projector has not processed "
                f"them: is it running? Before them {outcome.recorded} were recorded, "
                f"{outcome.parked_again} parked again"
            )
        if waiting:
            await asyncio.sleep(POLL_S)
    return versions


def _trace(found: ParkedRecord) -> TraceContext:
    return TraceContext.of(original_headers(found.record.headers))
