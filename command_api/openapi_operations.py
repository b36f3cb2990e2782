"""Describes the operations for ``/openapi.json``, one function each."""

from uuid import UUID

import msgspec

from command_api.openapi_answers import (
    ETAG,
    OF_COMMANDS,
    OF_EVERY_PATH,
    OF_SHOWN_LOCK,
    Header,
    answer,
    ref,
    refusals,
)
from command_api.requests import DEFAULT_PAGE, KEY_PATTERN, MAX_KEY, MAX_PAGE
from schemas.json_schemas import Json, integer_format
from schemas.primitives import MAX_LOCK_ID

COMMANDS, READING = "Commands", "Reading"

_LOCK = "4f6b8e6e-1f0a-5c52-9d1e-0a6f4b9f0c11"
_EVENT = "01a20943-063b-7611-93e4-06cdc29e2571"
_TIME = "2026-11-23T10:00:00.123Z"
_DATA = {
    "type": "TempKeyUsed",
    "lockId": 123,
    "lockUuid": _LOCK,
    "tempKeyUuid": "example_string",
    "userId": "example_string",
    "usedCount": 3,
    "timestamp": _TIME,
}
_EVENT_BODY = {"id": _EVENT, "type": "TempKeyUsed", "data": _DATA}


def paths() -> Json:
    return {
        "/locks/{id}/use-temp-key": {"post": _use_temp_key()},
        "/locks/{id}": {"get": _show_lock()},
        "/locks/{id}/events": {"get": _list_events()},
        "/events/{eventId}": {"get": _show_event()},
    }


def _use_temp_key() -> Json:
    return {
        "operationId": "useTempKey",
        "tags": [COMMANDS],
        "summary": "Record temporary web access key usage",
        "description": "Appends a `TempKeyUsed` event to the lock's event stream and answers with "
        "the lock's new version. A repeat with the same `Idempotency-Key` records nothing and is "
        "answered with the first event; a key is remembered for as long as the stream is: for "
        "ever. `userId` is the caller's claim; who asked (the token's subject, the API key) is "
        "recorded beside it as the event's `actor`, which partners are not shown.",
        "parameters": [
            _lock_id(),
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": f"One for each door opening: 1 to {MAX_KEY} printable ASCII "
                "characters. As a quoted string (RFC 8941) or bare, which are one key",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 2 * MAX_KEY + 2,  # quoted, and each character of it escaped
                    "pattern": f"^(?:{KEY_PATTERN})$",
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
                    "schema": ref("TempKeyUse"),
                    "example": {"tempKeyUuid": "example_string", "userId": "example_string"},
                }
            },
        },
        "responses": {
            "200": answer(
                "The event is in the stream",
                "RecordedBody",
                {
                    "recorded": {
                        "success": True,
                        "aggregateId": _LOCK,
                        "version": 7,
                        "event": _EVENT_BODY,
                    }
                },
                {
                    "ETag": ETAG,
                    "Idempotent-Replayed": Header(
                        "On a repeat of an Idempotency-Key", "true", always=False
                    ),
                },
            ),
            "202": answer(
                "Recorded for good; the version isn't known yet",
                "PendingBody",
                {
                    "pending": {
                        "success": True,
                        "aggregateId": _LOCK,
                        "eventId": _EVENT,
                        "status": "pending",
                    }
                },
                {
                    "Location": Header("Where to ask for the event", f"/events/{_EVENT}"),
                    "Retry-After": Header("Seconds", "1"),
                },
            ),
            **refusals(OF_COMMANDS),
        },
    }


def _show_lock() -> Json:
    return {
        "operationId": "showLock",
        "tags": [READING],
        "summary": "A lock and its version",
        "parameters": [
            _lock_id(),
            _query(
                "minVersion", "Wait, for a moment, until the lock has this version", 1, MAX_LOCK_ID
            ),
        ],
        "responses": {
            "200": answer(
                "The lock",
                "LockBody",
                {
                    "lock": {
                        "lockId": 123,
                        "aggregateId": _LOCK,
                        "orgId": "acme",
                        "version": 7,
                        "updatedAt": _TIME,
                    }
                },
                {"ETag": ETAG},
            ),
            **refusals(OF_SHOWN_LOCK),
        },
    }


def _list_events() -> Json:
    return {
        "operationId": "listEvents",
        "tags": [READING],
        "summary": "A lock's events, by version",
        "parameters": [
            _lock_id(),
            _query("afterVersion", "Only later versions", 0, MAX_LOCK_ID, 0),
            _query("limit", "How many at most", 1, MAX_PAGE, DEFAULT_PAGE),
        ],
        "responses": {
            "200": answer(
                "A page; `nextAfterVersion` is null on the last",
                "EventPageBody",
                {
                    "last page": {
                        "lockId": 123,
                        "aggregateId": _LOCK,
                        "events": [{**_EVENT_BODY, "version": 7, "time": _TIME}],
                        "nextAfterVersion": None,
                    }
                },
                {},
            ),
            **refusals(OF_EVERY_PATH),
        },
    }


def _show_event() -> Json:
    return {
        "operationId": "showEvent",
        "tags": [READING],
        "summary": "What became of a command",
        "parameters": [
            {
                "name": "eventId",
                "in": "path",
                "required": True,
                "description": "From the answer to the command, as it stands there",
                "schema": msgspec.json.schema(UUID),
            }
        ],
        "responses": {
            "200": answer(
                "Recorded, pending, or parked with a reason",
                "EventStatusBody",
                {
                    "recorded": {
                        "eventId": _EVENT,
                        "status": "recorded",
                        "lockId": 123,
                        "version": 7,
                        "event": _EVENT_BODY,
                    },
                    "pending": {"eventId": _EVENT, "status": "pending", "lockId": 123},
                    "parked": {
                        "eventId": _EVENT,
                        "status": "parked",
                        "lockId": 123,
                        "reason": "organization-mismatch",
                    },
                },
                {},
            ),
            **refusals(OF_EVERY_PATH),
        },
    }


def _lock_id() -> Json:
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "Lock ID (numeric, without leading zeros)",
        "schema": {
            "type": "integer",
            "format": integer_format(MAX_LOCK_ID),
            "minimum": 1,
            "maximum": MAX_LOCK_ID,
        },
        "example": 123,
    }


def _query(name: str, text: str, least: int, most: int, default: int | None = None) -> Json:
    schema: Json = {
        "type": "integer",
        "format": integer_format(most),
        "minimum": least,
        "maximum": most,
    }
    if default is not None:
        schema["default"] = default
    return {"name": name, "in": "query", "description": text, "schema": schema}
