"""JSON Schemas that other languages read as we do."""

from typing import Annotated

import msgspec
import pytest

from schemas.json_schemas import (
    _header,
    header_schema,
    integer_format,
    json_schema,
    schema_components,
)


class Inner(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z]+\Z")]


class Outer(msgspec.Struct):
    inner: Inner
    small: Annotated[int, msgspec.Meta(ge=0, le=9)]
    named: Annotated[int, msgspec.Meta(le=9, extra_json_schema={"format": "int64"})]
    times: tuple[int, ...] = ()


class Headers(msgspec.Struct, rename="kebab"):
    event_id: bytes
    org_id: str | None = None


def test_components_refer_to_each_other_where_openapi_looks_for_them() -> None:
    components = schema_components([Outer])
    assert components.keys() == {"Outer", "Inner"}
    assert components["Outer"]["properties"] == {
        "inner": {"$ref": "#/components/schemas/Inner"},
        "small": {"type": "integer", "minimum": 0, "maximum": 9, "format": "int32"},
        "named": {"type": "integer", "maximum": 9, "format": "int64"},
        "times": {
            "type": "array",
            "items": {"type": "integer", "format": "int64"},
            "default": [],
        },
    }
    assert components["Inner"]["properties"]["name"]["pattern"] == "^[a-z]+$"


def test_a_schema_is_complete_in_itself_and_says_its_dialect() -> None:
    schema = json_schema(Outer)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$defs"].keys() == {"Outer", "Inner"}
    assert schema["$defs"]["Outer"]["properties"]["inner"] == {"$ref": "#/$defs/Inner"}


def test_a_header_is_text_or_left_out_and_never_null() -> None:
    assert header_schema(Headers) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Headers",
        "type": "object",
        "properties": {"event-id": {"type": "string"}, "org-id": {"type": "string"}},
        "required": ["event-id"],
    }
    assert _header({"anyOf": [{"type": "null"}, {"type": "string"}]}) == {"type": "string"}


@pytest.mark.parametrize(
    ("maximum", "name"),
    [(0, "int32"), (2**31 - 1, "int32"), (2**31, "int64"), (None, "int64")],
)
def test_an_integer_has_32_bits_only_where_it_is_known_to_fit(
    maximum: int | None, name: str
) -> None:
    assert integer_format(maximum) == name
