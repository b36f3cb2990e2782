"""``/openapi.json``: OpenAPI 3.1, from the same types that read requests and write answers."""

from lockstream.command_api.bodies import (
    EventPageBody,
    EventStatusBody,
    LockBody,
    PendingBody,
    RecordedBody,
)
from lockstream.command_api.errors import ErrorBody, Problem
from lockstream.command_api.openapi_answers import header_components, refusal_components
from lockstream.command_api.openapi_operations import COMMANDS, READING, paths
from lockstream.schemas.json_schemas import Json, schema_components
from lockstream.schemas.lock_facts import TempKeyUse

_BODIES = (
    TempKeyUse,
    RecordedBody,
    PendingBody,
    LockBody,
    EventPageBody,
    EventStatusBody,
    ErrorBody,
    Problem,
)


def openapi_document(version: str) -> Json:
    """The whole document; ``version`` is the product's."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lockstream",
            "version": version,
            "summary": "The HTTP API",
            "description": "Records that a temporary web key opened a lock, and delivers that fact "
            "to everybody entitled to it: once, in order, with nothing lost.",
        },
        "servers": [{"url": "/"}],
        "security": [{"bearerToken": [], "apiKey": []}],
        "tags": [
            {"name": COMMANDS, "description": "What happened, recorded"},
            {"name": READING, "description": "What has been recorded"},
        ],
        "paths": paths(),
        "components": {
            "schemas": schema_components(_BODIES),
            "responses": refusal_components(),
            "headers": header_components(),
            "securitySchemes": {
                "bearerToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Identifies the B2C user, or, with `org_id`, the B2B service. "
                    "Accepted for 30 s past its `exp`, since clocks differ",
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
