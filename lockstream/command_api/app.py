"""The routes. Handlers have no ``try``: what is raised finds its response in ``errors``."""

import asyncio
from collections.abc import Callable, Mapping
from uuid import UUID

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from lockstream.command_api.bodies import (
    EventBody,
    EventPageBody,
    EventStatusBody,
    ListedEvent,
    LockBody,
    PendingBody,
    RecordedBody,
)
from lockstream.command_api.commands import Pending, Recorded, UseTempKeyHandler
from lockstream.command_api.credentials import PRINCIPAL, Doorkeeper, Principal
from lockstream.command_api.door import ANSWER_HEADERS
from lockstream.command_api.errors import (
    BadField,
    InvalidRequest,
    NotFound,
    on_error,
    on_http_exception,
)
from lockstream.command_api.lookups import Lookups
from lockstream.command_api.pending_facts import PendingFacts
from lockstream.command_api.rate_limits import RateLimits
from lockstream.command_api.requests import (
    Duplicates,
    read_event_page,
    read_lock_id,
    read_min_version,
    read_use_temp_key,
)
from lockstream.read_model.rows import LockRow
from lockstream.read_model.store import ReadModel
from lockstream.runtime.errors import LockstreamError, ReadModelUnavailable
from lockstream.schemas.lock_events import Event, decode_event, event_type
from lockstream.schemas.partner_events import partner_data
from lockstream.schemas.topics import partition_of

USE_TEMP_KEY = "/locks/{id}/use-temp-key"
POLL_S = 0.01
ONCE_ONLY = ("idempotency-key", "content-type")


class Api:
    def __init__(
        self,
        doorkeeper: Doorkeeper,
        rate_limits: RateLimits,
        handler: UseTempKeyHandler,
        lookups: Lookups,
        read_model: ReadModel,
        pending_facts: PendingFacts,
        partitions: int,
        answer_timeout_s: float,
    ) -> None:
        self._doorkeeper = doorkeeper
        self._rate_limits = rate_limits
        self._handler = handler
        self._lookups = lookups
        self._read_model = read_model
        self._pending_facts = pending_facts
        self._partitions = partitions
        self._answer_timeout_s = answer_timeout_s

    def routes(self) -> list[BaseRoute]:
        return [
            Route(USE_TEMP_KEY, self.use_temp_key, methods=["POST"]),
            Route("/locks/{id}", self.show_lock, methods=["GET"]),
            Route("/locks/{id}/events", self.list_events, methods=["GET"]),
            Route("/events/{event_id}", self.show_event, methods=["GET"]),
        ]

    async def _admit(self, request: Request) -> Principal:
        """
        Raises:
            Unauthenticated, Forbidden, IssuerUnavailable: see ``Doorkeeper``.
            RateLimited: the organisation, or this key, asks too often.
        """
        principal = await self._doorkeeper.admit(request.headers)
        now = asyncio.get_running_loop().time()
        told = self._rate_limits.take(principal.org_id, principal.actor.key_id or "", now)
        setattr(request.state, ANSWER_HEADERS, told)
        request.scope[PRINCIPAL] = principal
        return principal

    async def use_temp_key(self, request: Request) -> Response:
        principal = await self._admit(request)
        twice = tuple(n for n in ONCE_ONLY if len(request.headers.getlist(n)) > 1)
        command = read_use_temp_key(
            request.path_params["id"], request.headers, Duplicates(twice), await request.body()
        )
        answer = await self._handler.handle(command, principal)
        if isinstance(answer, Pending):
            return _json(
                PendingBody(True, answer.lock_uuid, answer.event_id),
                status=202,
                headers={"Location": f"/events/{answer.event_id}", "Retry-After": "1"},
            )
        return _recorded(answer)

    async def show_lock(self, request: Request) -> Response:
        principal = await self._admit(request)
        lock_id = _lock_id(request)
        least = read_min_version(request.query_params)
        row = await self._lock_at(lock_id, least, principal)
        body = LockBody(row.lock_id, row.lock_uuid, row.org_id, row.version, row.updated_at)
        return _json(body, headers={"ETag": f'"{row.version}"'})

    async def _lock_at(self, lock_id: int, least: int, principal: Principal) -> LockRow:
        """The lock once the read model has at least this version of it."""
        await self._lookups.lock_of(lock_id, principal.org_id)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._answer_timeout_s
        pause = POLL_S
        while True:
            row, _ = await self._read_model.lock(lock_id, partition_of(lock_id, self._partitions))
            if row is not None and row.version >= least:
                if row.org_id != principal.org_id:
                    raise NotFound
                return row
            if loop.time() + pause > deadline:
                raise ReadModelUnavailable(f"lock {lock_id} has not reached version {least}")
            await asyncio.sleep(pause)
            pause = min(0.1, pause * 1.5)

    async def list_events(self, request: Request) -> Response:
        principal = await self._admit(request)
        lock_id = _lock_id(request)
        page = read_event_page(request.query_params)
        lock = await self._lookups.lock_of(lock_id, principal.org_id)
        await self._lookups.check_history(lock_id)
        rows = await self._read_model.events_of(
            lock_id, principal.org_id, page.after_version, page.limit + 1
        )
        listed = [_listed(decode_event(row.value)) for row in rows[: page.limit]]
        more = len(rows) > page.limit
        body = EventPageBody(lock_id, lock.lock_uuid, listed, listed[-1].version if more else None)
        return _json(body)

    async def show_event(self, request: Request) -> Response:
        principal = await self._admit(request)
        event_id = _event_id(request)
        found = await self._lookups.event(event_id)
        # Another organisation's takes as long as none: it is looked for to the end.
        if found is not None and found.event.org_id == principal.org_id:
            event = found.event
            return _json(
                EventStatusBody(event_id, "recorded", event.lock_id, event.version, _body(event))
            )
        parked = await self._lookups.parked(event_id)
        if parked is not None and parked.org_id == principal.org_id:
            return _json(EventStatusBody(event_id, "parked", parked.lock_id, reason=parked.reason))
        return await self._show_pending(event_id, principal)

    async def _show_pending(self, event_id: UUID, principal: Principal) -> Response:
        pending = self._handler.pending(event_id)
        if pending is not None and pending.org_id == principal.org_id:
            return _json(EventStatusBody(event_id, "pending", pending.lock_id))
        fact = await self._pending_facts.find(event_id)
        if fact is None or fact.actor.org_id != principal.org_id:
            raise NotFound
        return _json(EventStatusBody(event_id, "pending", fact.lock_id))


def make_app(routes: list[BaseRoute]) -> Starlette:
    handlers: Mapping[type[Exception] | int, Callable[[Request, Exception], object]] = {
        LockstreamError: on_error,
        HTTPException: on_http_exception,
        Exception: on_error,
    }
    app = Starlette(routes=routes, exception_handlers=dict(handlers))  # type: ignore[arg-type]
    # Its redirect would be built from the Host header.
    app.router.redirect_slashes = False
    return app


def _recorded(answer: Recorded) -> Response:
    event = answer.event
    headers = {"ETag": f'"{event.version}"'}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    body = RecordedBody(True, event.aggregate_id, event.version, _body(event))
    return _json(body, headers=headers)


def _body(event: Event) -> EventBody:
    return EventBody(event.event_id, event_type(event), partner_data(event))


def _listed(event: Event) -> ListedEvent:
    return ListedEvent(
        event.event_id, event_type(event), event.version, event.occurred_at, partner_data(event)
    )


def _lock_id(request: Request) -> int:
    lock_id = read_lock_id(request.path_params["id"])
    if isinstance(lock_id, BadField):
        raise InvalidRequest((lock_id,))
    return lock_id


def _event_id(request: Request) -> UUID:
    try:
        return msgspec.convert(request.path_params["event_id"], UUID)
    except msgspec.ValidationError:
        raise InvalidRequest((BadField("eventId", "must be a UUID"),)) from None


def _json(
    body: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(
        msgspec.json.encode(body), status, headers=headers, media_type="application/json"
    )
