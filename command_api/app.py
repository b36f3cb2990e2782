"""Handles each route. There is no ``try``: ``Routes`` has the response to whatever is raised."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from command_api.admission import whole_body
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
from command_api.errors import NotFound
from command_api.fact_search import FactSearch
from command_api.rate_limits import RateLimits
from command_api.request_state import request_state
from command_api.requests import (
    READ_HEADERS,
    read_event_id,
    read_list_events,
    read_show_lock,
    read_use_temp_key,
)
from command_api.stream_view import StreamView, Unprojected
from read_model.rows import ParkedRow
from schemas.lock_events import Event, event_type
from schemas.partner_events import partner_data

USE_TEMP_KEY = "/locks/{id}/use-temp-key"
RETRY_AFTER = (b"retry-after", b"1")
REPLAYED = (b"idempotent-replayed", b"true")


class Api:
    """Handles the requests that need credentials, one method for each route."""

    def __init__(
        self,
        authenticator: Authenticator,
        rate_limits: RateLimits,
        handler: UseTempKeyHandler,
        stream: StreamView,
        fact_search: FactSearch,
    ) -> None:
        self._authenticator = authenticator
        self._rate_limits = rate_limits
        self._handler = handler
        self._stream = stream
        self._fact_search = fact_search

    def routes(self) -> list[BaseRoute]:
        return [
            Route(USE_TEMP_KEY, self.use_temp_key, methods=["POST"]),
            Route("/locks/{id}", self.show_lock, methods=["GET"]),
            Route("/locks/{id}/events", self.list_events, methods=["GET"]),
            Route("/events/{event_id}", self.show_event, methods=["GET"]),
        ]

    async def _principal(self, request: Request) -> Principal:
        """Authenticates the caller and counts the request against its rate limits.

        Raises:
            Unauthenticated, Forbidden, IssuerUnavailable: see ``Authenticator``.
            RateLimited: the organisation, or this key, asks too often.
        """
        principal = await self._authenticator.authenticate(request)
        now = asyncio.get_running_loop().time()
        limits = self._rate_limits.take(principal.org_id, principal.actor.key_id or "", now)
        if limits:
            request_state(request.scope).answer_headers = [
                (name.lower().encode(), value.encode()) for name, value in limits.items()
            ]
        return principal

    async def use_temp_key(self, request: Request) -> Response:
        principal = await self._principal(request)
        body = await whole_body(request.receive)
        command = read_use_temp_key(
            _as_sent(request, "id"), _query(request), _headers(request), body
        )
        answer = await self._handler.handle(command, principal)
        if isinstance(answer, Accepted):
            return _json(
                PendingBody(True, answer.lock_uuid, answer.event_id),
                status=202,
                headers=[(b"location", b"/events/%b" % str(answer.event_id).encode()), RETRY_AFTER],
            )
        return _recorded(answer)

    async def show_lock(self, request: Request) -> Response:
        principal = await self._principal(request)
        question = read_show_lock(_as_sent(request, "id"), _query(request))
        row = await self._stream.lock_at(question.lock_id, principal.org_id, question.min_version)
        body = LockBody(row.lock_id, row.lock_uuid, row.org_id, row.version, row.updated_at)
        return _json(body, headers=[_etag(row.version)])

    async def list_events(self, request: Request) -> Response:
        principal = await self._principal(request)
        page = read_list_events(_as_sent(request, "id"), _query(request))
        history = await self._stream.history(
            page.lock_id, principal.org_id, page.after_version, page.limit
        )
        listed = [_listed(event) for event in history.events]
        next_after = listed[-1].version if history.more else None
        return _json(EventPageBody(page.lock_id, history.lock_uuid, listed, next_after))

    async def show_event(self, request: Request) -> Response:
        principal = await self._principal(request)
        event_id = read_event_id(_as_sent(request, "event_id"), _query(request))
        fate = await self._stream.fate_of(event_id, principal.org_id)
        if isinstance(fate, Unprojected):
            return await self._show_pending(event_id, fate, principal)
        if isinstance(fate, ParkedRow):
            return _json(EventStatusBody(event_id, "parked", fate.lock_id, reason=fate.reason))
        return _json(EventStatusBody(event_id, "recorded", fate.lock_id, fate.version, _body(fate)))

    async def _show_pending(
        self, event_id: UUID, unprojected: Unprojected, principal: Principal
    ) -> Response:
        pending = self._handler.pending(event_id)
        if pending is not None and pending.org_id == principal.org_id:
            return _json(EventStatusBody(event_id, "pending", pending.lock_id))
        fact = await self._fact_search.find(event_id, unprojected.next_facts)
        if fact is None or fact.actor.org_id != principal.org_id:
            raise NotFound
        return _json(EventStatusBody(event_id, "pending", fact.lock_id))


def _as_sent(request: Request, name: str) -> str:
    """Returns a parameter of the path as it came. No path of ours needs an escape, which would give
    a thing a second URL: of a path with one, the whole is returned, which is no valid parameter."""
    sent: bytes = request.scope["raw_path"]
    return sent.decode("latin-1") if b"%" in sent else request.scope["path_params"][name]


def _headers(request: Request) -> list[tuple[str, str]]:
    """Returns the headers that commands are read from."""
    return [
        (text, value.decode("latin-1"))
        for name, value in request.scope["headers"]
        if (text := name.decode("latin-1")) in READ_HEADERS
    ]


def _query(request: Request) -> Sequence[tuple[str, str]]:
    return request.query_params.multi_items() if request.scope["query_string"] else ()


def _recorded(answer: Recorded) -> Response:
    event = answer.event
    headers = [_etag(event.version)]
    if answer.replayed:
        headers.append(REPLAYED)
    body = RecordedBody(True, event.aggregate_id, event.version, _body(event))
    return _json(body, headers=headers)


def _body(event: Event) -> EventBody:
    return EventBody(event.event_id, event_type(event), partner_data(event))


def _listed(event: Event) -> ListedEvent:
    return ListedEvent(
        event.event_id, event_type(event), event.version, event.occurred_at, partner_data(event)
    )


def _etag(version: int) -> tuple[bytes, bytes]:
    return (b"etag", b'"%d"' % version)


def _json(
    body: msgspec.Struct, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()
) -> Response:
    response = Response(msgspec.json.encode(body), status, media_type="application/json")
    response.raw_headers += headers
    return response
