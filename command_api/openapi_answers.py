"""Describes the answers for ``/openapi.json``: one table of refusals, and how they are written.

A refusal's example is made as ``errors`` makes the real one, and the tests compare the two.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from command_api.connection import MAX_HEAD_BYTES
from command_api.errors import PROBLEM, BadField, ErrorBody, Problem, phrase_of
from command_api.requests import MAX_BODY_BYTES
from schemas.json_schemas import Json


class Header(msgspec.Struct, frozen=True):
    """Describes a header of an answer. ``always``: every answer of that status has it."""

    means: str
    example: str
    always: bool = True


class Refusal(msgspec.Struct, frozen=True):
    """Describes an answer that refuses a request. ``message``: the example's."""

    means: str
    message: str
    headers: Mapping[str, Header] = {}
    details: tuple[BadField, ...] = ()


CLOSE = Header("The connection ends with this answer", "close")
REFUSALS: Mapping[int, Refusal] = {
    400: Refusal(
        "The path, the query, a header or the body is malformed; `details` names every bad field",
        "The request contains invalid parameters or malformed data",
        details=(
            BadField("tempKeyUuid", "is required"),
            BadField("userID", "is not a known field"),
        ),
    ),
    401: Refusal(
        "The token or the API key is missing, wrong or expired",
        "The Authorization header is missing",
        {
            "WWW-Authenticate": Header(
                "Which credential was wrong: Bearer (RFC 6750), or ApiKey",
                'Bearer realm="lockstream"',
            )
        },
    ),
    403: Refusal(
        "The token is another organisation's, or lacks the scope",
        "The token lacks the scope locks:use-temp-key",
        {
            "WWW-Authenticate": Header(
                "The scope that is missing (RFC 6750)",
                'Bearer realm="lockstream", error="insufficient_scope", scope="locks:use-temp-key"',
                always=False,
            )
        },
    ),
    404: Refusal(
        "No such thing, or another organisation's: the two can't be told apart",
        "The requested resource was not found",
    ),
    405: Refusal(
        "No such method here",
        "PUT is not possible here",
        {"Allow": Header("The methods that are possible", "POST")},
    ),
    408: Refusal(
        "The head or the body did not come in time",
        "The request did not come in time",
        {"Connection": CLOSE},
    ),
    412: Refusal(
        "The lock has not reached `minVersion`, and all that was recorded is known",
        "Lock 123 is at version 7, not yet at 8",
        {"ETag": Header("The version that the lock has, quoted", '"7"')},
    ),
    413: Refusal(
        f"The body is larger than {MAX_BODY_BYTES} bytes",
        f"The body may have {MAX_BODY_BYTES} bytes at most",
        {"Connection": CLOSE},
    ),
    415: Refusal(
        "The body is not uncompressed application/json",
        "Send the body with Content-Type: application/json",
        {"Accept": Header("The media type that is taken", "application/json")},
    ),
    422: Refusal(
        "The Idempotency-Key was used for another lock or payload",
        "This Idempotency-Key was used for another lock or payload; use a new key",
    ),
    429: Refusal(
        "The organisation, or this API key, asks too often",
        "Too many requests; nothing was recorded. Try again after Retry-After",
        {"Retry-After": Header("Seconds", "10")},
    ),
    431: Refusal(
        f"The request line and headers are larger than {MAX_HEAD_BYTES} bytes",
        f"The request line and headers may have {MAX_HEAD_BYTES} bytes at most",
        {"Connection": CLOSE},
    ),
    500: Refusal("Something went wrong on our side", "Something went wrong on our side"),
    503: Refusal(
        "Kafka or the read model can't be asked now; `message` says whether the command may have "
        "been recorded. A retry with the same Idempotency-Key is always safe, and so is a retry of "
        "a question, which is answered with other words",
        "The service can't do this now: this attempt recorded nothing. Try again, with the "
        "same Idempotency-Key if it had one",
        {"Retry-After": Header("Seconds", "1")},
    ),
}
OF_EVERY_PATH = (400, 401, 403, 404, 405, 408, 413, 429, 431, 500, 503)
OF_COMMANDS = (*OF_EVERY_PATH, 415, 422)
OF_SHOWN_LOCK = (*OF_EVERY_PATH, 412)
ETAG = Header("The lock's version, quoted", '"7"')


def ref(name: str, kind: str = "schemas") -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def answer(
    means: str, schema: str, examples: Mapping[str, Json], headers: Mapping[str, Header]
) -> Json:
    """Describes a good answer. ``examples``: by the name that they are shown under."""
    return {
        "description": means,
        "headers": _headers(headers),
        "content": {
            "application/json": {
                "schema": ref(schema),
                "examples": {name: {"value": value} for name, value in examples.items()},
            }
        },
    }


def refusals(statuses: tuple[int, ...]) -> Json:
    """Makes references to the shared answers."""
    return {str(status): ref(_name(status), "responses") for status in sorted(statuses)}


def refusal_components() -> Json:
    """Makes what ``refusals`` refers to."""
    return {_name(status): _refusal(status, refusal) for status, refusal in REFUSALS.items()}


def header_components() -> Json:
    return {
        "RequestId": _header(
            Header(
                "Names this request in our logs; the caller's own if it is of 1 to 128 letters, "
                "digits, dots, hyphens and underscores",
                "9f1c2d7e0b6a4c58a3d1e5f7090b2c4d",
            )
        ),
        "RateLimit-Policy": _header(
            Header(
                "Where there are limits: so many requests (q) in so many seconds (w)",
                '"organization";q=600;w=60, "key";q=6;w=60',
                always=False,
            )
        ),
        "RateLimit": _header(
            Header(
                "Where there are limits: so many requests are left (r), and more come in so many "
                "seconds (t); draft-ietf-httpapi-ratelimit-headers-11",
                '"organization";r=590;t=1, "key";r=0;t=10',
                always=False,
            )
        ),
        "Vary": _header(Header("The answer's form depends on this request header", "Accept")),
    }


def _name(status: int) -> str:
    return f"Refusal{status}"


def _headers(headers: Mapping[str, Header]) -> Json:
    own = {name: _header(header) for name, header in headers.items()}
    limits = {name: ref(name, "headers") for name in ("RateLimit-Policy", "RateLimit")}
    return {"X-Request-Id": ref("RequestId", "headers"), **limits, **own}


def _header(header: Header) -> Json:
    return {
        "description": header.means,
        "required": header.always,
        "schema": {"type": "string"},
        "example": header.example,
    }


def _refusal(status: int, refusal: Refusal) -> Json:
    title = phrase_of(status)
    body = ErrorBody(title, refusal.message, status, refusal.details)
    problem = Problem(title, status, refusal.message, details=refusal.details)
    return {
        "description": refusal.means,
        "headers": {**_headers(refusal.headers), "Vary": ref("Vary", "headers")},
        "content": {
            "application/json": {"schema": ref("ErrorBody"), "example": _plain(body)},
            PROBLEM: {"schema": ref("Problem"), "example": _plain(problem)},
        },
    }


def _plain(body: msgspec.Struct) -> Any:
    return msgspec.json.decode(msgspec.json.encode(body))
