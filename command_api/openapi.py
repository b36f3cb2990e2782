"""Describes the API as OpenAPI 3.1, from the types that read requests and write answers."""

from collections.abc import Iterator
from typing import Any

from command_api.bodies import (
    EventPageBody,
    EventStatusBody,
    LockBody,
    PendingBody,
    RecordedBody,
)
from command_api.errors import ErrorBody, Problem
from command_api.openapi_answers import header_components, refusal_components
from command_api.openapi_operations import COMMANDS, READING, paths
from schemas.json_schemas import Json, schema_components
from schemas.lock_facts import TempKeyUse

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


def _schemas() -> dict[str, Json]:
    """Makes the schemas of the bodies in a form that generated clients understand.

    Types that a discriminator tells apart are ``oneOf``: of ``anyOf``, clients in TypeScript make
    one type with all fields. Clients in Go try each type in turn, and look at nothing but required
    fields, enums that are types of their own, and patterns, most of which they can't read: so a tag
    is a type, and what is only ever an answer has no patterns.
    """
    plain = schema_components(_BODIES)
    schemas: dict[str, Json] = _with_one_of(plain)
    for name in sorted(set(_tagged(plain))):
        tag = schemas[name]["properties"]["type"]
        schemas[f"{name}Type"] = {"type": "string", **tag}
        fields = {n: _without_pattern(part) for n, part in schemas[name]["properties"].items()}
        fields["type"] = {"$ref": f"#/components/schemas/{name}Type"}
        schemas[name] = {**schemas[name], "properties": fields}
    return schemas


def _with_one_of(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_one_of(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    is_union = "discriminator" in schema
    return {
        "oneOf" if is_union and name == "anyOf" else name: _with_one_of(part)
        for name, part in schema.items()
    }


def _without_pattern(field: Json) -> Json:
    kept = {name: part for name, part in field.items() if name != "pattern"}
    if "anyOf" in kept:
        kept["anyOf"] = [_without_pattern(part) for part in kept["anyOf"]]
    return kept


def _tagged(schema: Any) -> Iterator[str]:
    """Yields the names of the types that discriminators tell apart."""
    if isinstance(schema, list):
        for part in schema:
            yield from _tagged(part)
    elif isinstance(schema, dict):
        references: Json = schema.get("discriminator", {}).get("mapping", {})
        yield from (str(reference).rsplit("/", 1)[-1] for reference in references.values())
        for part in schema.values():
            yield from _tagged(part)


def openapi_document(version: str) -> Json:
    """Makes the whole document; ``version`` is the product's."""
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
            "schemas": _schemas(),
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
