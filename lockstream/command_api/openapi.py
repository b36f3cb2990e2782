"""``/openapi.json``: OpenAPI 3.1, from the same types that read requests and write answers."""

from typing import Any
from uuid import UUID

import msgspec

from lockstream.command_api.bodies import (
    EventPageBody,
    EventStatusBody,
    LockBody,
    PendingBody,
    RecordedBody,
)
from lockstream.command_api.errors import ErrorBody, Problem
from lockstream.command_api.requests import DEFAULT_PAGE, MAX_BODY_BYTES, MAX_KEY, MAX_PAGE
from lockstream.schemas.lock_facts import TempKeyUse
from lockstream.schemas.primitives import MAX_LOCK_ID

Json = dict[str, Any]

_EXAMPLE_LOCK = "4f6b8e6e-1f0a-5c52-9d1e-0a6f4b9f0c11"
_EXAMPLE_EVENT = "01a20943-063b-7611-93e4-06cdc29e2571"
_EXAMPLE_DATA = {
    "type": "TempKeyUsed",
    "lockId": 123,
    "lockUuid": _EXAMPLE_LOCK,
    "tempKeyUuid": "example_string",
    "userId": "example_string",
    "usedCount": 3,
    "timestamp": "2026-11-23T10:00:00.123Z",
}

_REFUSALS: dict[int, str] = {
    400: "The path, a header or the body is malformed; `details` names every bad field",
    401: "The token or the API key is missing, wrong or expired",
    403: "The token is another organisation's, or lacks the scope",
    404: "No such thing, or not this organisation's",
    405: "No such method here",
    413: f"The body is larger than {MAX_BODY_BYTES} bytes",
    415: "The body is not uncompressed application/json",
    422: "The Idempotency-Key was used for another lock or payload",
    503: "Kafka or the read model can't be asked now; a retry with the same key is safe",
}
_REFUSAL_HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": "Bearer, and what was wrong with the token"},
    405: {"Allow": "The methods that are possible"},
    415: {"Accept": "application/json"},
    503: {"Retry-After": "Seconds"},
}


def openapi_document(version: str) -> Json:
    """The whole document; ``version`` is the product's."""
    _, components = msgspec.json.schema_components(
        (
            TempKeyUse,
            RecordedBody,
            PendingBody,
            LockBody,
            EventPageBody,
            EventStatusBody,
            ErrorBody,
            Problem,
        ),
        ref_template="#/components/schemas/{name}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lockstream",
            "version": version,
            "description": "Records that a temporary web key opened a lock, and delivers that fact "
            "to everybody entitled to it: once, in order, with nothing lost.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearerToken": [], "apiKey": []}],
        "paths": {
            "/locks/{id}/use-temp-key": {"post": _use_temp_key()},
            "/locks/{id}": {"get": _show_lock()},
            "/locks/{id}/events": {"get": _list_events()},
            "/events/{eventId}": {"get": _show_event()},
        },
        "components": {
            "schemas": components,
            "responses": {_refusal_name(s): _refusal(s, text) for s, text in _REFUSALS.items()},
            "headers": {
                "RequestId": _header(
                    "Names this request in our logs; the caller's own if it sent one"
                ),
            },
            "securitySchemes": {
                "bearerToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Identifies the B2C user, or, with `org_id`, the B2B service",
                },
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "Identifies the organisation",
                },
            },
        },
    }


def _use_temp_key() -> Json:
    return {
        "operationId": "useTempKey",
        "summary": "Record temporary web access key usage",
        "description": "Appends a `TempKeyUsed` event to the lock's event stream and answers with "
        "the lock's new version.",
        "parameters": [
            _lock_id(),
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "Quoted or bare. Repeats get the first answer, and record nothing",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_KEY,
                    "pattern": "^[!-~]([ -~]*[!-~])?$",
                },
            },
            {
                "name": "traceparent",
                "in": "header",
                "description": "W3C Trace Context; carried to the partner's record",
                "schema": {"type": "string"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _ref("TempKeyUse"),
                    "example": {"tempKeyUuid": "example_string", "userId": "example_string"},
                }
            },
        },
        "responses": {
            "200": _answer(
                "The event is in the stream",
                "RecordedBody",
                {
                    "success": True,
                    "aggregateId": _EXAMPLE_LOCK,
                    "version": 7,
                    "event": {"id": _EXAMPLE_EVENT, "type": "TempKeyUsed", "data": _EXAMPLE_DATA},
                },
                {
                    "ETag": _header("The version, quoted"),
                    "Idempotent-Replayed": _header("`true` on a repeat of an Idempotency-Key"),
                },
            ),
            "202": _answer(
                "Recorded for good; the version isn't known yet",
                "PendingBody",
                {
                    "success": True,
                    "aggregateId": _EXAMPLE_LOCK,
                    "eventId": _EXAMPLE_EVENT,
                    "status": "pending",
                },
                {
                    "Location": _header("Where to ask for the event"),
                    "Retry-After": _header("Seconds"),
                },
            ),
            **_refusals(400, 401, 403, 404, 405, 413, 415, 422, 503),
        },
    }


def _show_lock() -> Json:
    return {
        "operationId": "showLock",
        "summary": "A lock and its version",
        "parameters": [
            _lock_id(),
            _query(
                "minVersion", "Wait, for a moment, until the lock has this version", 1, MAX_LOCK_ID
            ),
        ],
        "responses": {
            "200": _answer(
                "The lock",
                "LockBody",
                {
                    "lockId": 123,
                    "aggregateId": _EXAMPLE_LOCK,
                    "orgId": "acme",
                    "version": 7,
                    "updatedAt": "2026-11-23T10:00:00.130Z",
                },
                {"ETag": _header("The version, quoted")},
            ),
            **_refusals(400, 401, 403, 404, 405, 503),
        },
    }


def _list_events() -> Json:
    return {
        "operationId": "listEvents",
        "summary": "A lock's events, by version",
        "parameters": [
            _lock_id(),
            _query("afterVersion", "Only later versions", 0, MAX_LOCK_ID, 0),
            _query("limit", "How many at most", 1, MAX_PAGE, DEFAULT_PAGE),
        ],
        "responses": {
            "200": _answer(
                "A page; `nextAfterVersion` is null on the last",
                "EventPageBody",
                {
                    "lockId": 123,
                    "aggregateId": _EXAMPLE_LOCK,
                    "events": [
                        {
                            "id": _EXAMPLE_EVENT,
                            "type": "TempKeyUsed",
                            "version": 7,
                            "time": "2026-11-23T10:00:00.123Z",
                            "data": _EXAMPLE_DATA,
                        }
                    ],
                    "nextAfterVersion": None,
                },
                {},
            ),
            **_refusals(400, 401, 403, 404, 405, 503),
        },
    }


def _show_event() -> Json:
    return {
        "operationId": "showEvent",
        "summary": "What became of a command",
        "parameters": [
            {
                "name": "eventId",
                "in": "path",
                "required": True,
                "schema": msgspec.json.schema(UUID),
            }
        ],
        "responses": {
            "200": _answer(
                "Recorded, pending, or parked with a reason",
                "EventStatusBody",
                {"eventId": _EXAMPLE_EVENT, "status": "pending", "lockId": 123},
                {},
            ),
            **_refusals(400, 401, 403, 404, 405, 503),
        },
    }


def _lock_id() -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_LOCK_ID}
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "Lock ID (numeric)",
        "schema": schema,
        "example": 123,
    }


def _query(name: str, text: str, least: int, most: int, default: int | None = None) -> Json:
    schema: Json = {"type": "integer", "minimum": least, "maximum": most}
    if default is not None:
        schema["default"] = default
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _header(text: str) -> Json:
    return {"description": text, "schema": {"type": "string"}}


def _ref(name: str, kind: str = "schemas") -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _answer(text: str, schema: str, example: Json, headers: Json) -> Json:
    return {
        "description": text,
        "headers": {"X-Request-Id": _ref("RequestId", "headers"), **headers},
        "content": {"application/json": {"schema": _ref(schema), "example": example}},
    }


def _refusal_name(status: int) -> str:
    return f"Refusal{status}"


def _refusals(*statuses: int) -> Json:
    return {str(status): _ref(_refusal_name(status), "responses") for status in statuses}


def _refusal(status: int, text: str) -> Json:
    headers = {name: _header(meaning) for name, meaning in _REFUSAL_HEADERS.get(status, {}).items()}
    return {
        "description": text,
        "headers": {"X-Request-Id": _ref("RequestId", "headers"), **headers},
        "content": {
            "application/json": {"schema": _ref("ErrorBody")},
            "application/problem+json": {"schema": _ref("Problem")},
        },
    }
