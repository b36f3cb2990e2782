"""Makes JSON Schemas (draft 2020-12) of msgspec types, so that other languages read them alike."""

from collections.abc import Sequence
from typing import Any

import msgspec

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_END_IN_PYTHON = r"\Z"
_MAX_INT32 = 2**31 - 1


def json_schema(type_: Any) -> Json:
    """Returns one type's schema, complete in itself: what it refers to stands under ``$defs``."""
    return {"$schema": DIALECT, **_portable(msgspec.json.schema(type_))}


def header_schema(type_: type[msgspec.Struct]) -> Json:
    """Returns the schema of a record's headers: an object of texts and of numbers in ASCII decimal.
    A header that has no value is left out; none is null."""
    schema = json_schema(type_)
    (headers,) = schema.pop("$defs").values()
    named = {name: _header(part) for name, part in headers["properties"].items()}
    return {"$schema": schema["$schema"], **headers, "properties": named}


def _header(schema: Json) -> Json:
    present = [part for part in schema.get("anyOf", [schema]) if part != {"type": "null"}]
    # Bytes stand there as they are.
    return {k: v for k, v in present[0].items() if k != "contentEncoding"}


def schema_components(types: Sequence[Any]) -> dict[str, Json]:
    """Returns the types' schemas by name, for the ``components/schemas`` of OpenAPI and
    AsyncAPI."""
    _, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    return {name: _portable(schema) for name, schema in components.items()}


def _portable(schema: Any) -> Any:
    """Returns the schema in a form that other languages read alike. Patterns become ECMA-262's, as
    JSON Schema asks (2020-12, section 6.4): ``$`` for ``\\Z``. Integers get the format that they
    need: without one, generated clients take 32 bits.
    """
    if isinstance(schema, list | tuple):
        return [_portable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    portable = {name: _portable(part) for name, part in schema.items()}
    pattern = portable.get("pattern")
    if isinstance(pattern, str) and pattern.endswith(_END_IN_PYTHON):
        portable["pattern"] = pattern.removesuffix(_END_IN_PYTHON) + "$"
    if portable.get("type") == "integer" and "format" not in portable:
        portable["format"] = integer_format(portable.get("maximum"))
    return portable


def integer_format(maximum: int | None) -> str:
    """Returns ``int32`` where the integer is known to fit."""
    return "int32" if maximum is not None and maximum <= _MAX_INT32 else "int64"
