"""The formats that generators of clients go by: 64 bits, times and UUIDs are said to be such."""

from collections.abc import Iterator
from typing import Any

import pytest

from command_api.openapi import openapi_document
from schemas.descriptions.asyncapi import asyncapi_document
from schemas.descriptions.published import PUBLISHED
from schemas.topics import LockTopics

DOCUMENTS = {
    "openapi": openapi_document("0.1.0"),
    "asyncapi": asyncapi_document("0.1.0", LockTopics("", 8), replicas=1),
    **{published.name: published.json_schema() for published in PUBLISHED},
}
TIMES = ("createdAt", "recordedAt", "occurredAt", "updatedAt", "notAfter", "revokedAt",
         "lastUsedAt", "time", "timestamp", "ce_time",
         "parked-at")  # fmt: skip
UUIDS = ("lockUuid", "aggregateId", "eventId", "ce_id", "ce_subject")
SMALL = ("limit", "code", "status")


def named_schemas(part: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema, with the name of its property, parameter or definition."""
    if isinstance(part, list):
        for inner in part:
            yield from named_schemas(inner, name)
    elif isinstance(part, dict):
        if isinstance(part.get("type"), str):
            yield name, part
        for key, inner in part.items():
            if key not in ("example", "examples"):
                named = part.get("name") if key == "schema" else name
                is_name = key not in ("anyOf", "oneOf", "schema", "items")
                yield from named_schemas(inner, key if is_name else str(named))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_integer_says_how_large_it_gets(document: str) -> None:
    for name, schema in named_schemas(DOCUMENTS[document]):
        if schema["type"] == "integer":
            assert schema.get("format") == ("int32" if name in SMALL else "int64"), name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_times_and_uuids_are_said_to_be_such(document: str) -> None:
    for name, schema in named_schemas(DOCUMENTS[document]):
        if schema["type"] != "string":
            continue
        if name in TIMES:
            assert schema.get("format") == "date-time", name
        if name in UUIDS:
            assert schema.get("format") == "uuid", name
