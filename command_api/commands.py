"""The command: publish the fact, wait for its event, answer with its version."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import msgspec
import uuid_utils

from command_api.credentials import Principal
from command_api.errors import IdempotencyKeyReused, NotFound
from command_api.metrics import ApiMetrics
from command_api.recent_events import (
    Expected,
    LockView,
    Outcome,
    RecentEvents,
    SeenEvent,
)
from command_api.requests import UseTempKey
from command_api.stream_view import StreamView
from eventlog.publisher import FactPublisher, Published
from eventlog.watch import OBSTACLE, REFUSAL
from runtime.errors import (
    KafkaRefused,
    KafkaUnavailable,
    ReadModelUnavailable,
    Unavailable,
)
from runtime.readiness import Readiness
from schemas.lock_events import Event, TempKeyUsedEvent
from schemas.lock_facts import TempKeyUsed, fact_type
from schemas.primitives import event_id_of_idempotency_key, write_time

T = TypeVar("T")

PENDING_KEPT = 20_000
LOOK_UP_S = 2.0
"""Seconds for all that a command asks of the read model; then 503."""


class Recorded(msgspec.Struct, frozen=True):
    """The event is in the stream. ``replayed``: it was there before this command."""

    event: Event
    replayed: bool


class Accepted(msgspec.Struct, frozen=True):
    """The fact is durable; its version isn't known yet."""

    event_id: UUID
    lock_uuid: UUID


class PendingFact(msgspec.Struct, frozen=True):
    org_id: str
    lock_id: int


class UseTempKeyHandler:
    """``deadline``: a command waits ``answer_timeout_s`` for its version."""

    def __init__(
        self,
        stream: StreamView,
        recent: RecentEvents,
        publisher: FactPublisher,
        readiness: Readiness,
        metrics: ApiMetrics,
        answer_timeout_s: float,
    ) -> None:
        self._stream = stream
        self._recent = recent
        self._publisher = publisher
        self._readiness = readiness
        self._metrics = metrics
        self._answer_timeout_s = answer_timeout_s
        self._under_way: dict[UUID, tuple[UseTempKey, asyncio.Task[Recorded | Accepted]]] = {}
        self._pending: OrderedDict[UUID, PendingFact] = OrderedDict()

    async def handle(self, command: UseTempKey, principal: Principal) -> Recorded | Accepted:
        """
        Raises:
            NotFound: no such lock, or another organisation's.
            IdempotencyKeyReused: the key was used for another lock or payload.
            Unavailable: Kafka or the read model can't be asked now.
            KafkaRefused: Kafka does not take facts from us.
        """
        # Looking up shares one deadline, so that no command takes longer than this, the
        # publishing and the answer together.
        deadline = asyncio.get_running_loop().time() + LOOK_UP_S
        if command.idempotency_key is not None:
            return await self._once(command, command.idempotency_key, principal, deadline)
        lock = await self._lock(command, principal, deadline)
        event_id = UUID(bytes=uuid_utils.uuid7().bytes)
        return await self._record(event_id, command, principal, lock)

    async def _once(
        self, command: UseTempKey, key: str, principal: Principal, deadline: float
    ) -> Recorded | Accepted:
        """Concurrent repeats of one key wait for the same answer. Whether it is an answer to
        their own payload is for the log to say, not for who came first."""
        event_id = event_id_of_idempotency_key(principal.org_id, key)
        while (under_way := self._under_way.get(event_id)) is not None:
            before, task = under_way
            if _same(before, command):
                return _judged(await asyncio.shield(task), command, principal, repeated=True)
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                answer = task.result()
                if isinstance(answer, Recorded):
                    return _judged(answer, command, principal, repeated=True)
                raise _undecided()
            # What was refused, or went wrong, was the other's. Now it is our turn.
            if asyncio.get_running_loop().time() > deadline:
                raise _undecided()
        task = asyncio.create_task(self._find_or_record(event_id, command, principal, deadline))
        self._under_way[event_id] = (command, task)
        task.add_done_callback(lambda done: self._landed(event_id, done))
        # The first caller may hang up; the others still want the answer.
        return _judged(await asyncio.shield(task), command, principal)

    def _landed(self, event_id: UUID, task: "asyncio.Task[Recorded | Accepted]") -> None:
        del self._under_way[event_id]
        if not task.cancelled():
            task.exception()

    async def _find_or_record(
        self, event_id: UUID, command: UseTempKey, principal: Principal, deadline: float
    ) -> Recorded | Accepted:
        """The key comes before the lock: what was answered once is answered so again, even if the
        lock is another organisation's by now."""
        found = await _in_time(self._stream.event(event_id), deadline)
        if found is not None:
            return Recorded(found, replayed=True)
        lock = await self._lock(command, principal, deadline)
        return await self._record(event_id, command, principal, lock)

    async def _lock(self, command: UseTempKey, principal: Principal, deadline: float) -> LockView:
        lock = self._stream.remembered(command.lock_id, principal.org_id)
        if lock is not None:
            return lock
        return await _in_time(self._stream.lock_of(command.lock_id, principal.org_id), deadline)

    async def _record(
        self, event_id: UUID, command: UseTempKey, principal: Principal, lock: LockView
    ) -> Recorded | Accepted:
        obstacles = self._readiness.obstacles
        if (refusal := obstacles.get(REFUSAL)) is not None:
            raise KafkaRefused(refusal)
        if (away := obstacles.get(OBSTACLE)) is not None:
            raise KafkaUnavailable(away)
        fact = TempKeyUsed(
            event_id=event_id,
            lock_id=command.lock_id,
            occurred_at=write_time(datetime.now(UTC)),
            actor=principal.actor,
            data=command.use,
        )
        expected = self._recent.expect(str(event_id))
        try:
            with self._metrics.publish_wait.time():
                published = await self._publisher.publish(fact, command.trace)
            self._metrics.published(fact_type(fact))
            with self._metrics.version_wait.time():
                async with asyncio.timeout(self._answer_timeout_s):
                    return await _outcome(expected, published)
        except TimeoutError:
            # It may have been seen while nobody waited, or in the last moment.
            seen = self._recent.event(str(event_id))
            if seen is not None:
                return _recorded(seen, published)
            self._remember_pending(event_id, PendingFact(principal.org_id, command.lock_id))
            return Accepted(event_id, lock.lock_uuid)
        finally:
            self._recent.give_up(str(event_id), expected)

    def _remember_pending(self, event_id: UUID, fact: PendingFact) -> None:
        self._pending[event_id] = fact
        if len(self._pending) > PENDING_KEPT:
            self._pending.popitem(last=False)

    def pending(self, event_id: UUID) -> PendingFact | None:
        """A fact that this replica published and whose event it had not seen in time."""
        return self._pending.get(event_id)


async def _in_time(answer: Awaitable[T], deadline: float) -> T:
    """
    Raises:
        ReadModelUnavailable: it did not come before the deadline, of the loop's clock.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await answer
    except TimeoutError as error:
        raise ReadModelUnavailable("the read model is too slow") from error


async def _outcome(expected: Expected, published: Published) -> Recorded:
    """
    Raises:
        NotFound: our fact was parked: between our look and the projector's, the lock went to
            another organisation.
    """
    while True:
        outcome = await expected.get()
        if isinstance(outcome, SeenEvent):
            return _recorded(outcome, published)
        if _is_of(outcome, published):
            raise NotFound
        # Another fact with our id was parked: an earlier attempt, whose key was not used up by it.


def _recorded(seen: SeenEvent, published: Published) -> Recorded:
    return Recorded(seen.event(), replayed=not _is_of(seen, published))


def _is_of(outcome: Outcome, published: Published) -> bool:
    return (outcome.partition, outcome.source_offset) == (published.partition, published.offset)


def _judged(
    answer: Recorded | Accepted,
    command: UseTempKey,
    principal: Principal,
    *,
    repeated: bool = False,
) -> Recorded | Accepted:
    """The answer for one of those that sent the key. ``repeated``: another one brought it about.

    Raises:
        IdempotencyKeyReused: the log holds another lock or payload under the key.
    """
    if isinstance(answer, Accepted):
        return answer
    event = answer.event
    if (
        not isinstance(event, TempKeyUsedEvent)
        or event.org_id != principal.org_id
        or event.lock_id != command.lock_id
        or event.data.temp_key_uuid != command.use.temp_key_uuid
        or event.data.user_id != command.use.user_id
    ):
        raise IdempotencyKeyReused
    return Recorded(event, replayed=answer.replayed or repeated)


def _undecided() -> Unavailable:
    return Unavailable("another command with this Idempotency-Key is not decided yet")


def _same(one: UseTempKey, other: UseTempKey) -> bool:
    return one.lock_id == other.lock_id and one.use == other.use
