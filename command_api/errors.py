"""Defines what the API refuses, and the one table from errors to responses.

CommandRefused
├── InvalidRequest          400, every bad field in `details`
├── Unauthenticated         401, WWW-Authenticate
├── Forbidden               403
├── NotFound                404: no such thing, or another organisation's (indistinguishable)
├── NotReceivedInTime       408, the connection is closed
├── VersionNotReached       412, ETag: the version that the lock has
├── TooLarge                413, the connection is closed
├── UnsupportedMediaType    415, Accept
├── IdempotencyKeyReused    422
├── RateLimited             429, Retry-After, RateLimit, RateLimit-Policy
├── HeadTooLarge            431, the connection is closed
└── (Unavailable            503, Retry-After)
    (KafkaRefused           503, Retry-After, later)
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from runtime.errors import CommandRefused, KafkaRefused, OutcomeUnknown, Unavailable

PROBLEM = "application/problem+json"
REALM = "lockstream"
TOKEN_MISSING = f'Bearer realm="{REALM}"'
TOKEN_INVALID = f'{TOKEN_MISSING}, error="invalid_token"'
API_KEY_WANTED = f'ApiKey realm="{REALM}"'
"""Values of ``WWW-Authenticate`` (RFC 9110, section 11.6.1; RFC 6750, section 3)."""
RETRY_AFTER_S = 1
MENDED_AFTER_S = 30
"""Seconds in ``Retry-After`` where Kafka refuses for good: only an operator can mend that."""
_WEIGHT = re.compile(r"^(0(\.\d{0,3})?|1(\.0{0,3})?)\Z", re.ASCII)


class BadField(msgspec.Struct, frozen=True):
    """Names one bad part of the request and says what is wrong with it."""

    field: str
    message: str


HttpStatus = Annotated[int, msgspec.Meta(ge=100, le=599)]


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """Gives every error its shape. ``code`` is the HTTP status."""

    error: str
    message: str
    code: HttpStatus
    details: tuple[BadField, ...] = ()


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Gives an error the form of RFC 9457, for callers that ask for it."""

    title: str
    status: HttpStatus
    detail: str
    type: str = "about:blank"
    details: tuple[BadField, ...] = ()


class InvalidRequest(CommandRefused):
    """The path, the query, a header or the body is malformed. ``details``: every bad field."""

    def __init__(self, details: tuple[BadField, ...]) -> None:
        super().__init__("The request contains invalid parameters or malformed data")
        self.details = details


class Unauthenticated(CommandRefused):
    """A credential is missing, given twice, wrong or expired. ``challenge``: which one, so that
    nobody renews a good token because of a wrong API key."""

    def __init__(self, message: str, *, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


class Forbidden(CommandRefused):
    """The token is good, but does not allow this. ``missing_scope``: the scope that it lacks."""

    def __init__(self, message: str, *, missing_scope: str | None = None) -> None:
        super().__init__(message)
        self.missing_scope = missing_scope


class NotFound(CommandRefused):
    """There is no such thing, or it is another organisation's."""

    def __init__(self) -> None:
        super().__init__("The requested resource was not found")


class NotReceivedInTime(CommandRefused):
    """The head or the body was not complete at its deadline."""

    def __init__(self) -> None:
        super().__init__("The request did not come in time")


class VersionNotReached(CommandRefused):
    """The lock has only ``version``, and the read model holds all that was recorded of it."""

    def __init__(self, lock_id: int, version: int, min_version: int) -> None:
        super().__init__(f"Lock {lock_id} is at version {version}, not yet at {min_version}")
        self.version = version


class TooLarge(CommandRefused):
    """The body has more bytes than a body may have."""


class HeadTooLarge(CommandRefused):
    """The request line and the headers together have more bytes than they may have."""


class UnsupportedMediaType(CommandRefused):
    """The body is not uncompressed ``application/json`` in UTF-8."""


class IdempotencyKeyReused(CommandRefused):
    """The log holds another lock or payload under this ``Idempotency-Key``."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for another lock or payload; use a new key")


class RateLimited(CommandRefused):
    """The organisation, or its key, has used up its requests. ``headers``: when to come again."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__("Too many requests; nothing was recorded. Try again after Retry-After")
        self.headers = headers


STATUS_OF: Mapping[type[Exception], int] = {
    InvalidRequest: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    NotReceivedInTime: 408,
    VersionNotReached: 412,
    TooLarge: 413,
    UnsupportedMediaType: 415,
    IdempotencyKeyReused: 422,
    RateLimited: 429,
    HeadTooLarge: 431,
    Unavailable: 503,
    KafkaRefused: 503,
    Exception: 500,
}
"""The one table. An error's nearest listed ancestor counts."""

_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""The names of RFC 9110, which Python has from 3.13 on."""
_CLOSING = (408, 413, 431)
"""After these the connection is closed: nobody can tell where the next request begins."""


def status_of(error: Exception) -> int:
    for ancestor in type(error).__mro__:
        if ancestor in STATUS_OF:
            return STATUS_OF[ancestor]
    return 500


def phrase_of(status: int) -> str:
    return _PHRASES.get(status) or HTTPStatus(status).phrase


class ErrorContext(msgspec.Struct, frozen=True):
    """Says what form and words of an error's answer depend on. ``reads``: the request records
    nothing; ``has_key``: it had an ``Idempotency-Key``."""

    accept: str = ""
    reads: bool = False
    has_key: bool = True


def error_context(headers: Headers, method: str) -> ErrorContext:
    reads = method in ("GET", "HEAD")
    return ErrorContext(headers.get("accept", ""), reads, "idempotency-key" in headers)


def _message_of(error: Exception, status: int, context: ErrorContext) -> str:
    if isinstance(error, CommandRefused):
        return str(error)
    if isinstance(error, Unavailable) and context.reads:
        return "The service can't tell this now. Try again after Retry-After"
    if isinstance(error, OutcomeUnknown) and not context.has_key:
        return (
            "The command was sent and not confirmed: it may have been recorded. It had no "
            "Idempotency-Key, so a repeat may record it twice: look for it in the lock's events"
        )
    if isinstance(error, OutcomeUnknown):
        return (
            "The command was sent and not confirmed: it may have been recorded. "
            "Repeat it with the same Idempotency-Key to learn"
        )
    if isinstance(error, KafkaRefused):
        # The details name topics and users: they are for the operator, in the log.
        return (
            "Kafka refuses what this service asks of it (its rights or its settings): this attempt "
            "recorded nothing, and none will until an operator has mended it"
        )
    if isinstance(error, Unavailable):
        return (
            "The service can't do this now: this attempt recorded nothing. Try again, with the "
            "same Idempotency-Key if it had one"
        )
    return "Something went wrong on our side" if status == 500 else HTTPStatus(status).description


def _headers_of(error: Exception, status: int) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": error.challenge}
    if isinstance(error, Forbidden) and error.missing_scope is not None:
        challenge = (
            f'Bearer realm="{REALM}", error="insufficient_scope", scope="{error.missing_scope}"'
        )
        return {"WWW-Authenticate": challenge}
    if isinstance(error, VersionNotReached):
        return {"ETag": f'"{error.version}"'}
    if status == 415:
        return {"Accept": "application/json"}
    if status == 503:
        waits = MENDED_AFTER_S if isinstance(error, KafkaRefused) else RETRY_AFTER_S
        return {"Retry-After": str(waits)}
    if isinstance(error, RateLimited):
        return dict(error.headers)
    if status in _CLOSING:
        return {"Connection": "close"}
    return {}


def error_response(context: ErrorContext, error: Exception) -> Response:
    """Makes the response to any error. The text of an unexpected one is not shown."""
    status = status_of(error)
    details = error.details if isinstance(error, InvalidRequest) else ()
    message = _message_of(error, status, context)
    return _render(context.accept, status, message, _headers_of(error, status), details)


def wants_problem(accept: str) -> bool:
    """Tells whether ``Accept`` names the problem document, and does not prefer plain JSON."""
    weights = dict(_weighted(media_range) for media_range in accept.split(","))
    weight = weights.get(PROBLEM, 0.0)
    return weight > 0 and weight >= weights.get("application/json", 0.0)


def _weighted(media_range: str) -> tuple[str, float]:
    """Splits a media range into its name and its weight: 1 without ``q``, 0 with a bad one
    (RFC 9110, section 12.4.2)."""
    name, *parameters = (part.strip().lower() for part in media_range.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            return name, float(parameter[2:]) if _WEIGHT.match(parameter[2:]) else 0.0
    return name, 1.0


def _render(
    accept: str,
    status: int,
    message: str,
    headers: Mapping[str, str],
    details: tuple[BadField, ...] = (),
) -> Response:
    title = phrase_of(status)
    as_problem = wants_problem(accept)
    body: ErrorBody | Problem = (
        Problem(title=title, status=status, detail=message, details=details)
        if as_problem
        else ErrorBody(error=title, message=message, code=status, details=details)
    )
    return Response(
        msgspec.json.encode(body),
        status_code=status,
        media_type=PROBLEM if as_problem else "application/json",
        headers={"Vary": "Accept", **headers},
    )


async def on_error(request: Request, error: Exception) -> Response:
    return error_response(error_context(request.headers, request.method), error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answers Starlette's own errors: no such path (404), no such method (405, with Allow)."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    message = (
        str(NotFound())
        if status == 404
        else f"{request.method} is not possible here"
        if status == 405
        else HTTPStatus(status).description
    )
    return _render(request.headers.get("accept", ""), status, message, dict(error.headers or {}))
