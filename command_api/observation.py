"""Wraps all other ASGI layers: gives each request its state, and logs and counts its outcome."""

import re
import time
from collections.abc import Sequence

import uuid_utils
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from command_api.admission import PROBES
from command_api.app import REPLAYED, USE_TEMP_KEY
from command_api.metrics import ApiMetrics
from command_api.request_state import RequestState, begin_request
from runtime.logs import AccessLine, AccessLog, RequestIds, request_ids
from runtime.tracing import Span, Tracing
from schemas.trace_context import read_traceparent

REQUEST_ID = b"x-request-id"
TRACEPARENT = b"traceparent"
TRACESTATE = b"tracestate"
NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")
"""An answer is one caller's own, unless it says that it may be kept."""
_HARMLESS = re.compile(rb"^[A-Za-z0-9._-]{1,128}\Z")
"""A caller's request id that may stand in answers, logs and pages as it came."""
UNMATCHED = "unmatched"
OTHER_METHOD = "_OTHER"
METHODS = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY")
)
"""Known to HTTP (RFC 9110, RFC 5789): a caller can't make labels of its own."""

OUTCOMES = {
    200: "recorded",
    202: "pending",
    400: "invalid",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    408: "not-received",
    413: "too-large",
    415: "unsupported-media-type",
    422: "key-reused",
    429: "rate-limited",
    500: "failed",
    503: "unavailable",
}


class Observation:
    """Gives each request its id, span, access line and metrics, and each answer the headers that
    all have. ``routes``: the application's, for the templates of their paths."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[BaseRoute],
        metrics: ApiMetrics,
        tracing: Tracing,
        access_log: AccessLog | None,
    ) -> None:
        self._app = app
        self._routes = routes
        self._metrics = metrics
        self._tracing = tracing
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_at = time.perf_counter()
        request_id, traceparent = _read_headers(scope)
        span = None
        if self._tracing.on and scope["path"] not in PROBES:
            span = self._begin_span(scope, traceparent)
            traceparent = span.traceparent
        ids = RequestIds(request_id, _trace_id(traceparent))
        request_ids.set(ids)
        state = begin_request(scope, ids)
        # What the server answers if the application fails before it does.
        status, replayed = 500, False

        async def send_completed(message: Message) -> None:
            nonlocal status, replayed
            if message["type"] == "http.response.start":
                status = message["status"]
                replayed = REPLAYED in message["headers"]
                message["headers"] = _completed(message["headers"], state)
            await send(message)

        try:
            await self._app(scope, receive, send_completed)
        finally:
            seconds = time.perf_counter() - started_at
            self._ended(scope, state, status, replayed, seconds)
            if span is not None:
                self._end_span(span, scope, status)

    def _begin_span(self, scope: Scope, parent: bytes | None) -> Span:
        """Begins a span, which all layers behind this one see as the caller's ``traceparent``."""
        method = _method(scope)
        attributes = {
            "http.request.method": method,
            "url.path": scope["path"],
            "url.scheme": scope["scheme"],
        }
        span = self._tracing.start(method, "server", parent, attributes)
        # Without the caller's trace, what tracing systems said of it means nothing.
        replaced = (TRACEPARENT,) if parent is not None else (TRACEPARENT, TRACESTATE)
        scope["headers"] = [h for h in scope["headers"] if h[0] not in replaced]
        if span.traceparent is not None:
            scope["headers"].append((TRACEPARENT, span.traceparent))
        return span

    def _end_span(self, span: Span, scope: Scope, status: int) -> None:
        route = self._template(scope)
        attributes: dict[str, str | int] = {"http.response.status_code": status}
        name = None
        if route != UNMATCHED:
            attributes["http.route"] = route
            name = f"{_method(scope)} {route}"
        span.end(attributes, name=name, error=str(status) if status >= 500 else None)

    def _ended(
        self, scope: Scope, state: RequestState, status: int, replayed: bool, seconds: float
    ) -> None:
        method = _method(scope)
        route = self._template(scope)
        self._metrics.answered(method, route, status, seconds)
        if route == USE_TEMP_KEY and method == "POST":
            self._metrics.commanded("replayed" if replayed else OUTCOMES.get(status, "failed"))
        if self._access_log is None or scope["path"] in PROBES:
            return
        api_key = state.api_key
        self._access_log.add(
            AccessLine(
                time=self._access_log.now(),
                level="INFO",
                logger="lockstream.access",
                message=f"{method} {route} {status}",
                method=method,
                route=route,
                status=status,
                duration_ms=round(seconds * 1000, 2),
                request_id=state.ids.request_id,
                client=scope["client"][0] if scope.get("client") else None,
                trace_id=state.ids.trace_id,
                key_id=api_key.key_id if api_key is not None else None,
                org_id=api_key.org_id if api_key is not None else None,
            )
        )

    def _template(self, scope: Scope) -> str:
        """Returns the path template of the route. A request that was refused before it reached the
        routes is matched here."""
        route = scope.get("route")
        if isinstance(route, Route):
            return route.path
        for candidate in self._routes:
            if isinstance(candidate, Route) and candidate.matches(scope)[0] != Match.NONE:
                return candidate.path
        return UNMATCHED


def _completed(
    headers: Sequence[tuple[bytes, bytes]], state: RequestState
) -> list[tuple[bytes, bytes]]:
    """Adds to an answer's headers those that it lacks."""
    given = dict(headers)
    wanted = [(REQUEST_ID, state.ids.request_id.encode()), NOSNIFF, *state.answer_headers, NO_STORE]
    return [*headers, *(header for header in wanted if header[0] not in given)]


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else OTHER_METHOD


def _read_headers(scope: Scope) -> tuple[str, bytes | None]:
    """Returns the request's id (the caller's own if it is harmless, else a new one) and the
    caller's ``traceparent`` if it is well-formed."""
    request_id = traceparent = None
    for name, value in scope["headers"]:
        if name == REQUEST_ID and request_id is None:
            request_id = value
        elif name == TRACEPARENT and traceparent is None:
            traceparent = value
    if request_id is None or not _HARMLESS.match(request_id):
        request_id = uuid_utils.uuid4().hex.encode()
    if traceparent is not None:
        traceparent = read_traceparent(traceparent)
    return request_id.decode(), traceparent


def _trace_id(traceparent: bytes | None) -> str | None:
    return traceparent[3:35].decode() if traceparent is not None else None
