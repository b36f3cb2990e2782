"""Records a command: publishes its fact, waits for the event, answers with the version."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

import msgspec
import uuid_utils

from command_api.credentials import Principal
from command_api.errors import IdempotencyKeyReused, NotFound
from command_api.metrics import ApiMetrics
from command_api.recent_events import (
    LockView,
    Outcome,
    Outcomes,
    RecentEvents,
    SeenEvent,
)
from command_api.requests import UseTempKey
from command_api.stream_view import StreamView
from eventlog.publisher import FactPublisher, Published
from eventlog.watch import OBSTACLE, REFUSAL
from runtime.deadlines import Deadlines
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
from schemas.trace_context import TraceContext

T = TypeVar("T")

PENDING_KEPT = 20_000
LOOK_UP_S = 2.0
"""Seconds for all that a command asks of the read model; after that 503."""


class Recorded(msgspec.Struct, frozen=True):
    """The event is in the stream. ``replayed``: it was there before this command."""

    event: Event
    replayed: bool


class Accepted(msgspec.Struct, frozen=True):
    """The fact is durable; its version is not known yet."""

    event_id: UUID
    lock_uuid: UUID


class PendingFact(msgspec.Struct, frozen=True):
    """Names a fact that this replica published and whose event did not come in time."""

    org_id: str
    lock_id: int


class UseTempKeyHandler:
    """Records uses of temp keys. A command waits ``answer_timeout_s`` seconds for its version."""

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
        self._answer_deadlines = Deadlines(answer_timeout_s)
        self._under_way: dict[UUID, tuple[UseTempKey, asyncio.Task[Recorded | Accepted]]] = {}
        self._pending: OrderedDict[UUID, PendingFact] = OrderedDict()

    async def handle(self, command: UseTempKey, principal: Principal) -> Recorded | Accepted:
        """Records the command, or finds what its idempotency key recorded before.

        Raises:
            NotFound: no such lock, or another organisation's.
            IdempotencyKeyReused: the key was used for another lock or payload.
            Unavailable: Kafka or the read model can't be asked now.
            KafkaRefused: Kafka refuses facts of this service for good.
        """
        # All look-ups share one deadline, so that no command takes longer than this deadline, the
        # publishing and the wait for the answer together.
        deadline = asyncio.get_running_loop().time() + LOOK_UP_S
        if command.idempotency_key is not None:
            return await self._once(command, command.idempotency_key, principal, deadline)
        lock = await self._lock(command, principal, deadline)
        event_id = UUID(bytes=uuid_utils.uuid7().bytes)
        return await self._record(event_id, command, principal, lock)

    async def _once(
        self, command: UseTempKey, key: str, principal: Principal, deadline: float
    ) -> Recorded | Accepted:
        """Makes concurrent repeats of one key wait for one answer. Whether that answers their own
        payload is decided by what the log holds, not by which of them came first."""
        event_id = event_id_of_idempotency_key(principal.org_id, key)
        while (under_way := self._under_way.get(event_id)) is not None:
            before, task = under_way
            if _same(before, command):
                return _answer_for(await asyncio.shield(task), command, principal, repeated=True)
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                answer = task.result()
                if isinstance(answer, Recorded):
                    return _answer_for(answer, command, principal, repeated=True)
                raise _undecided()
            # The other command was refused or failed, which decides nothing for this one.
            if asyncio.get_running_loop().time() > deadline:
                raise _undecided()
        task = asyncio.create_task(self._find_or_record(event_id, command, principal, deadline))
        self._under_way[event_id] = (command, task)
        task.add_done_callback(lambda done: self._finish(event_id, done))
        # The first caller may hang up; the others still want the answer.
        return _answer_for(await asyncio.shield(task), command, principal)

    def _finish(self, event_id: UUID, task: "asyncio.Task[Recorded | Accepted]") -> None:
        del self._under_way[event_id]
        if not task.cancelled():
            task.exception()

    async def _find_or_record(
        self, event_id: UUID, command: UseTempKey, principal: Principal, deadline: float
    ) -> Recorded | Accepted:
        """Looks for the key's event before the lock: a repeat gets its first answer even if the
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
        name = str(event_id)
        outcomes = self._recent.expect(name)
        try:
            published = await self._publish(fact, command.trace)
            recorded = await self._version(outcomes, published)
        finally:
            self._recent.give_up(name, outcomes)
        if recorded is not None:
            return recorded
        # The event may have come before anybody waited, or in the last moment.
        seen = self._recent.event(name)
        if seen is not None:
            return _recorded(seen, published)
        self._remember_pending(event_id, PendingFact(principal.org_id, command.lock_id))
        return Accepted(event_id, lock.lock_uuid)

    async def _publish(self, fact: TempKeyUsed, trace: TraceContext) -> Published:
        started_at = time.perf_counter()
        try:
            published = await self._publisher.publish(fact, trace)
        finally:
            self._metrics.publish_wait.observe(time.perf_counter() - started_at)
        self._metrics.published(fact_type(fact))
        return published

    async def _version(self, outcomes: Outcomes, published: Published) -> Recorded | None:
        """Waits for what becomes of the published fact. Returns None if it does not come in time.

        Raises:
            NotFound: the fact was parked, since the lock had gone to another organisation before
                the projector came to it.
        """
        started_at = time.perf_counter()
        alarm = self._answer_deadlines.set(partial(outcomes.put, None))
        try:
            while (outcome := await outcomes.get()) is not None:
                if isinstance(outcome, SeenEvent):
                    return _recorded(outcome, published)
                if _is_of(outcome, published):
                    raise NotFound
                # An earlier attempt with this id was parked, which does not use up its key.
            return None
        finally:
            alarm.cancel()
            self._metrics.version_wait.observe(time.perf_counter() - started_at)

    def _remember_pending(self, event_id: UUID, fact: PendingFact) -> None:
        self._pending[event_id] = fact
        if len(self._pending) > PENDING_KEPT:
            self._pending.popitem(last=False)

    def pending(self, event_id: UUID) -> PendingFact | None:
        """Returns the fact with this id, if this replica published it and saw no event in time."""
        return self._pending.get(event_id)


async def _in_time(answer: Awaitable[T], deadline: float) -> T:
    """Waits for an answer until a deadline of the loop's clock.

    Raises:
        ReadModelUnavailable: it did not come in time.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await answer
    except TimeoutError as error:
        raise ReadModelUnavailable("the read model is too slow") from error


def _recorded(seen: SeenEvent, published: Published) -> Recorded:
    return Recorded(seen.event(), replayed=not _is_of(seen, published))


def _is_of(outcome: Outcome, published: Published) -> bool:
    return (outcome.partition, outcome.source_offset) == (published.partition, published.offset)


def _answer_for(
    answer: Recorded | Accepted,
    command: UseTempKey,
    principal: Principal,
    *,
    repeated: bool = False,
) -> Recorded | Accepted:
    """Gives one of those that sent the key its answer. ``repeated``: another one caused it.

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
