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

from command_api.admission import ANSWER_HEADERS
from command_api.bodies import (
    EventBody,
    EventPageBody,
    EventStatusBody,
    ListedEvent,
    LockBody,
    PendingBody,
    RecordedBody,
)
from command_api.commands import Accepted, Recorded, UseTempKeyHandler
from command_api.credentials import Authenticator, Principal
from command_api.errors import (
    NotFound,
    VersionNotReached,
    on_error,
    on_http_exception,
)
from command_api.fact_search import FactSearch
from command_api.rate_limits import RateLimits
from command_api.requests import (
    ShowLock,
    read_event_id,
    read_list_events,
    read_show_lock,
    read_use_temp_key,
)
from command_api.stream_view import StreamView, Unseen
from read_model.rows import LockRow, ParkedRow
from read_model.store import ReadModel
from runtime.errors import LockstreamError, ReadModelUnavailable
from schemas.lock_events import Event, decode_event, event_type
from schemas.partner_events import partner_data
from schemas.topics import partition_of

USE_TEMP_KEY = "/locks/{id}/use-temp-key"
POLL_S = 0.01


class Api:
    def __init__(
        self,
        authenticator: Authenticator,
        rate_limits: RateLimits,
        handler: UseTempKeyHandler,
        stream: StreamView,
        read_model: ReadModel,
        fact_search: FactSearch,
        partitions: int,
        answer_timeout_s: float,
    ) -> None:
        self._doorkeeper = authenticator
        self._rate_limits = rate_limits
        self._handler = handler
        self._stream = stream
        self._read_model = read_model
        self._fact_search = fact_search
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
            Unauthenticated, Forbidden, IssuerUnavailable: see ``Authenticator``.
            RateLimited: the organisation, or this key, asks too often.
        """
        principal = await self._doorkeeper.admit(request)
        now = asyncio.get_running_loop().time()
        told = self._rate_limits.take(principal.org_id, principal.actor.key_id or "", now)
        setattr(request.state, ANSWER_HEADERS, told)
        return principal

    async def use_temp_key(self, request: Request) -> Response:
        principal = await self._admit(request)
        body = await request.body()
        command = read_use_temp_key(
            _as_sent(request, "id"),
            request.query_params.multi_items(),
            request.headers.items(),
            body,
        )
        answer = await self._handler.handle(command, principal)
        if isinstance(answer, Accepted):
            return _json(
                PendingBody(True, answer.lock_uuid, answer.event_id),
                status=202,
                headers={"Location": f"/events/{answer.event_id}", "Retry-After": "1"},
            )
        return _recorded(answer)

    async def show_lock(self, request: Request) -> Response:
        principal = await self._admit(request)
        asked = read_show_lock(_as_sent(request, "id"), request.query_params.multi_items())
        row = await self._lock_at(asked, principal)
        body = LockBody(row.lock_id, row.lock_uuid, row.org_id, row.version, row.updated_at)
        return _json(body, headers={"ETag": f'"{row.version}"'})

    async def _lock_at(self, asked: ShowLock, principal: Principal) -> LockRow:
        """The lock once the read model has at least the version asked for.

        Raises:
            NotFound: no such lock, or another organisation's.
            VersionNotReached: it has not, and holds all that was recorded.
            ReadModelUnavailable: it can't be known in time.
        """
        lock_id, least = asked.lock_id, asked.min_version
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._answer_timeout_s
        pause = POLL_S
        while True:
            lock = await self._stream.shown_lock(lock_id, principal.org_id)
            if lock.row is not None and lock.row.version >= least:
                return lock.row
            if loop.time() + pause > deadline:
                if lock.row is not None and lock.current:
                    raise VersionNotReached(lock_id, lock.row.version, least)
                raise ReadModelUnavailable(f"lock {lock_id} has not reached version {least}")
            await asyncio.sleep(pause)
            pause = min(0.1, pause * 1.5)

    async def list_events(self, request: Request) -> Response:
        principal = await self._admit(request)
        page = read_list_events(_as_sent(request, "id"), request.query_params.multi_items())
        lock_id = page.lock_id
        lock = await self._stream.lock_of(lock_id, principal.org_id)
        rows, position = await self._read_model.events_of(
            lock_id,
            partition_of(lock_id, self._partitions),
            principal.org_id,
            page.after_version,
            page.limit + 1,
        )
        self._stream.check_history(lock_id, position)
        listed = [_listed(decode_event(row.value)) for row in rows[: page.limit]]
        more = len(rows) > page.limit
        body = EventPageBody(lock_id, lock.lock_uuid, listed, listed[-1].version if more else None)
        return _json(body)

    async def show_event(self, request: Request) -> Response:
        principal = await self._admit(request)
        event_id = read_event_id(_as_sent(request, "event_id"), request.query_params.multi_items())
        fate = await self._stream.fate_of(event_id, principal.org_id)
        if isinstance(fate, Unseen):
            return await self._show_pending(event_id, fate, principal)
        if isinstance(fate, ParkedRow):
            return _json(EventStatusBody(event_id, "parked", fate.lock_id, reason=fate.reason))
        return _json(EventStatusBody(event_id, "recorded", fate.lock_id, fate.version, _body(fate)))

    async def _show_pending(self, event_id: UUID, unseen: Unseen, principal: Principal) -> Response:
        pending = self._handler.pending(event_id)
        if pending is not None and pending.org_id == principal.org_id:
            return _json(EventStatusBody(event_id, "pending", pending.lock_id))
        fact = await self._fact_search.find(event_id, unseen.begins)
        if fact is None or fact.actor.org_id != principal.org_id:
            raise NotFound
        return _json(EventStatusBody(event_id, "pending", fact.lock_id))


def _as_sent(request: Request, name: str) -> str:
    """A parameter of the path. None of our paths needs an escape, which would make a second URL of
    one: where there is one, the whole path as it came, which is no parameter."""
    sent: bytes = request.scope["raw_path"]
    return sent.decode("latin-1") if b"%" in sent else request.path_params[name]


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


def _json(
    body: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(
        msgspec.json.encode(body), status, headers=headers, media_type="application/json"
    )
