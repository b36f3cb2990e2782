"""The command: publish the fact, wait for its event, answer with its version."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

import msgspec
import uuid_utils

from lockstream.command_api.credentials import Principal
from lockstream.command_api.errors import KeyReused, NotFound
from lockstream.command_api.lookups import Lookups
from lockstream.command_api.metrics import ApiMetrics
from lockstream.command_api.recent_events import LockView, Outcome, RecentEvents, SeenParked
from lockstream.command_api.requests import UseTempKey
from lockstream.eventlog.publisher import FactPublisher, Published
from lockstream.runtime.errors import KafkaUnavailable, ReadModelUnavailable
from lockstream.runtime.readiness import Readiness
from lockstream.schemas.lock_events import Event, TempKeyUsedEvent
from lockstream.schemas.lock_facts import TempKeyUsed, fact_type
from lockstream.schemas.primitives import event_id_of_idempotency_key, write_time

T = TypeVar("T")

PENDING_KEPT = 20_000
LOOK_UP_S = 2.0
"""Seconds for all that a command asks of the read model; then 503."""


class Recorded(msgspec.Struct, frozen=True):
    """The event is in the stream. ``replayed``: it was there before this command."""

    event: Event
    replayed: bool


class Pending(msgspec.Struct, frozen=True):
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
        lookups: Lookups,
        recent: RecentEvents,
        publisher: FactPublisher,
        readiness: Readiness,
        metrics: ApiMetrics,
        answer_timeout_s: float,
    ) -> None:
        self._lookups = lookups
        self._recent = recent
        self._publisher = publisher
        self._readiness = readiness
        self._metrics = metrics
        self._answer_timeout_s = answer_timeout_s
        self._under_way: dict[UUID, tuple[UseTempKey, asyncio.Task[Recorded | Pending]]] = {}
        self._pending: OrderedDict[UUID, PendingFact] = OrderedDict()

    async def handle(self, command: UseTempKey, principal: Principal) -> Recorded | Pending:
        """
        Raises:
            NotFound: no such lock, or another organisation's.
            KeyReused: the key was used for another lock or payload.
            Unavailable: Kafka or the read model can't be asked now.
        """
        # Looking up shares one deadline, so that no command takes longer than this, the
        # publishing and the answer together.
        deadline = asyncio.get_running_loop().time() + LOOK_UP_S
        lock = self._lookups.remembered(command.lock_id, principal.org_id)
        if lock is None:
            looking = self._lookups.lock_of(command.lock_id, principal.org_id)
            lock = await _in_time(looking, deadline)
        if command.idempotency_key is None:
            event_id = UUID(bytes=uuid_utils.uuid7().bytes)
            return await self._record(event_id, command, principal, lock)
        event_id = event_id_of_idempotency_key(principal.org_id, command.idempotency_key)
        return await self._once(event_id, command, principal, lock, deadline)

    async def _once(
        self,
        event_id: UUID,
        command: UseTempKey,
        principal: Principal,
        lock: LockView,
        deadline: float,
    ) -> Recorded | Pending:
        """Concurrent repeats of one key wait for the same answer."""
        first = self._under_way.get(event_id)
        if first is not None:
            command_before, task = first
            if not _same(command_before, command):
                raise KeyReused
            answer = await asyncio.shield(task)
            if isinstance(answer, Recorded):
                return msgspec.structs.replace(answer, replayed=True)
            return answer
        task = asyncio.create_task(
            self._find_or_record(event_id, command, principal, lock, deadline)
        )
        self._under_way[event_id] = (command, task)
        task.add_done_callback(lambda done: self._landed(event_id, done))
        # The first caller may hang up; the others still want the answer.
        return await asyncio.shield(task)

    def _landed(self, event_id: UUID, task: "asyncio.Task[Recorded | Pending]") -> None:
        del self._under_way[event_id]
        if not task.cancelled():
            task.exception()

    async def _find_or_record(
        self,
        event_id: UUID,
        command: UseTempKey,
        principal: Principal,
        lock: LockView,
        deadline: float,
    ) -> Recorded | Pending:
        found = await _in_time(self._lookups.event(event_id), deadline)
        if found is not None:
            return _replay(found.event, command)
        return await self._record(event_id, command, principal, lock)

    async def _record(
        self, event_id: UUID, command: UseTempKey, principal: Principal, lock: LockView
    ) -> Recorded | Pending:
        away = self._readiness.obstacles.get("kafka")
        if away is not None:
            raise KafkaUnavailable(away)
        fact = TempKeyUsed(
            event_id=event_id,
            lock_id=command.lock_id,
            occurred_at=write_time(datetime.now(UTC)),
            actor=principal.actor,
            data=command.use,
        )
        waiting = self._recent.expect(str(event_id))
        try:
            with self._metrics.publish_wait.time():
                published = await self._publisher.publish(fact, command.traceparent)
            self._metrics.published(fact_type(fact))
            with self._metrics.version_wait.time():
                async with asyncio.timeout(self._answer_timeout_s):
                    outcome = await waiting
        except TimeoutError:
            self._remember_pending(event_id, PendingFact(principal.org_id, command.lock_id))
            return Pending(event_id, lock.lock_uuid)
        finally:
            self._recent.give_up(str(event_id), waiting)
        return _answer(outcome, published, command)

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


def _answer(outcome: Outcome, published: Published, command: UseTempKey) -> Recorded:
    if isinstance(outcome, SeenParked):
        # Between our look and the projector's, the lock went to another organisation.
        raise NotFound
    event = outcome.event()
    if outcome.source_offset == published.offset and outcome.partition == published.partition:
        return Recorded(event, replayed=False)
    return _replay(event, command)


def _replay(event: Event, command: UseTempKey) -> Recorded:
    if (
        not isinstance(event, TempKeyUsedEvent)
        or event.lock_id != command.lock_id
        or event.data.temp_key_uuid != command.use.temp_key_uuid
        or event.data.user_id != command.use.user_id
    ):
        raise KeyReused
    return Recorded(event, replayed=True)


def _same(one: UseTempKey, other: UseTempKey) -> bool:
    return one.lock_id == other.lock_id and one.use == other.use
