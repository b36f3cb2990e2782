"""Every kind of incompatible change to a published record is caught, and named by its field."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest

from schemas.json_schemas import json_schema
from tests.golden.compatibility import breaches, without_notes

BOTH = {"read": True, "written": True}
READ = {"read": True, "written": False}
WRITTEN = {"read": False, "written": True}


class Inner(msgspec.Struct, rename="camel"):
    temp_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    user_id: str | None = None


class Opened(msgspec.Struct, tag="Opened"):
    at: str


class Closed(msgspec.Struct, tag="Closed"):
    at: str


BASE: dict[str, Any] = {
    "id": UUID,
    "count": Annotated[int, msgspec.Meta(ge=1, le=100)],
    "name": Annotated[str, msgspec.Meta(pattern="^a")],
    "kind": Literal["x", "y"],
    "inner": Inner,
    "tags": list[str],
    "change": Opened | Closed,
    "note": (str | None, None),
    "status": (Literal["on", "off"], "on"),
}


def record(**changed: Any) -> dict[str, Any]:
    """The schema of a record like ``BASE``; ``...`` takes a field away."""
    fields = {name: kind for name, kind in {**BASE, **changed}.items() if kind is not ...}
    ordered = sorted(fields.items(), key=lambda field: isinstance(field[1], tuple))
    definition = [(n, *k) if isinstance(k, tuple) else (n, k) for n, k in ordered]
    return json_schema(msgspec.defstruct("Record", definition, tag="Record"))


class Loose(msgspec.Struct, rename="camel"):
    temp_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    user_id: str | None = None


class Poorer(msgspec.Struct, rename="camel"):
    temp_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Stricter(msgspec.Struct, rename="camel"):
    temp_key: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    user_id: str


class Sealed(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    temp_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    user_id: str | None = None


Ways = dict[str, bool]


@pytest.mark.parametrize(
    ("ways", "changed", "said"),
    [
        pytest.param(BOTH, {"count": ...}, "$.count: is lost", id="loses a field"),
        pytest.param(WRITTEN, {"note": ...}, "$.note: is lost", id="loses an optional field"),
        pytest.param(READ, {"count": ...}, "$.count: is lost", id="loses a field that is read"),
        pytest.param(BOTH, {"inner": Poorer}, "$.inner.userId: is lost", id="loses an inner field"),
        pytest.param(BOTH, {"count": str}, "$.count: was integer, is now string", id="retypes"),
        pytest.param(WRITTEN, {"count": float}, "$.count: was integer", id="integer to number"),
        pytest.param(BOTH, {"tags": list[int]}, "$.tags[]: was string", id="retypes an item"),
        pytest.param(BOTH, {"tags": str}, "$.tags: was array", id="list to text"),
        pytest.param(BOTH, {"inner": str}, "$.inner: was object", id="object to text"),
        pytest.param(BOTH, {"id": str}, "$.id: had the format uuid", id="loses its format"),
        pytest.param(READ, {"name": UUID}, "$.name: had the format None", id="gets a format"),
        pytest.param(
            WRITTEN, {"count": int}, "$.count: had the format int32", id="grows to 64 bits"
        ),
        pytest.param(
            READ, {"note": str}, "$.note: was optional, is now required", id="optional to required"
        ),
        pytest.param(
            WRITTEN, {"count": (int, 0)}, "$.count: was required, is now optional",
            id="required to optional",
        ),
        pytest.param(
            WRITTEN, {"inner": Loose}, "$.inner.tempKey: was required", id="inner, now optional"
        ),
        pytest.param(
            READ, {"inner": Stricter}, "$.inner.userId: was optional", id="inner, now required"
        ),
        pytest.param(
            READ, {"new": int}, "$.new: is new and required", id="new and required where we read"
        ),
        pytest.param(
            WRITTEN, {"count": Annotated[int, msgspec.Meta(ge=1, le=100)] | None},
            "$.count: may now be null", id="may be null now",
        ),
        pytest.param(
            WRITTEN, {"count": int | str}, "$.count: may now be string", id="may be a text now"
        ),
        pytest.param(
            BOTH, {"change": Opened}, "$.change: was object Closed", id="loses a type of data"
        ),
        pytest.param(READ, {"kind": Literal["x"]}, "$.kind: y is no longer", id="loses a value"),
        pytest.param(
            READ, {"name": Literal["a"]}, "$.name: any value is no longer", id="only some values"
        ),
        pytest.param(
            READ, {"count": Annotated[int, msgspec.Meta(ge=2, le=100)]}, "$.count: minimum was 1",
            id="a higher minimum",
        ),
        pytest.param(
            READ, {"count": Annotated[int, msgspec.Meta(ge=1, le=99)]}, "$.count: maximum was 100",
            id="a lower maximum",
        ),
        pytest.param(
            READ, {"inner": Stricter}, "$.inner.tempKey: maxLength was 128", id="shorter texts"
        ),
        pytest.param(
            READ, {"name": Annotated[str, msgspec.Meta(pattern="^b")]}, "$.name: the pattern",
            id="another pattern",
        ),
        pytest.param(
            READ, {"inner": Sealed}, "$.inner: unknown fields are now refused", id="strict now"
        ),
        pytest.param(
            READ, {"status": (Literal["on", "off"], "off")}, "$.status: left out, it meant on",
            id="another default",
        ),
    ],
)  # fmt: skip
def test_an_incompatible_change_is_named(ways: Ways, changed: dict[str, Any], said: str) -> None:
    found = breaches(record(), record(**changed), read=ways["read"], written=ways["written"])
    assert any(breach.startswith(said) for breach in found), found


class Broken(msgspec.Struct, tag="Broken"):
    at: str
    why: str


class Richer(msgspec.Struct, rename="camel"):
    temp_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    user_id: str | None = None
    device: str | None = None


@pytest.mark.parametrize(
    ("ways", "changed"),
    [
        pytest.param(BOTH, {}, id="nothing"),
        pytest.param(BOTH, {"new": (int | None, None)}, id="an optional field"),
        pytest.param(WRITTEN, {"new": int}, id="a required field where we only write"),
        pytest.param(BOTH, {"inner": Richer}, id="an inner field"),
        pytest.param(BOTH, {"change": Opened | Closed | Broken}, id="another type of data"),
        pytest.param(BOTH, {"kind": Literal["x", "y", "z"]}, id="another value"),
        pytest.param(READ, {"count": (int, 0)}, id="required to optional where we only read"),
        pytest.param(WRITTEN, {"note": str}, id="optional to required where we only write"),
        pytest.param(READ, {"count": int | None}, id="null too where we only read"),
        pytest.param(READ, {"name": str}, id="fewer limits"),
        pytest.param(WRITTEN, {"kind": Literal["x"]}, id="fewer values where we only write"),
    ],
)
def test_a_compatible_change_passes(ways: Ways, changed: dict[str, Any]) -> None:
    assert breaches(record(), record(**changed), read=ways["read"], written=ways["written"]) == []


TIME = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$"


@pytest.mark.parametrize(
    ("limits", "new_format", "is_implied"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, "int64", True),
        ({"type": "integer", "minimum": 1, "maximum": 2**31 - 1}, "int32", True),
        ({"type": "integer", "minimum": -(2**31), "maximum": 5}, "int32", True),
        ({"type": "integer", "minimum": 1, "maximum": 2**31}, "int32", False),
        ({"type": "integer", "minimum": -(2**31) - 1, "maximum": 5}, "int32", False),
        ({"type": "integer", "minimum": 1, "maximum": 2**63}, "int64", False),
        ({"type": "integer", "minimum": 1}, "int64", False),
        ({"type": "integer", "maximum": 5}, "int64", False),
        ({"type": "integer"}, "int32", False),
        ({"type": "integer", "minimum": 1, "maximum": 5}, "uint8", False),
        ({"type": "number", "minimum": 1, "maximum": 5}, "int32", False),
        ({"type": "string", "pattern": TIME}, "date-time", True),
        ({"type": "string", "pattern": "^2"}, "date-time", False),
        ({"type": "string"}, "date-time", False),
        ({"type": "string", "pattern": TIME}, "date", False),
        ({"type": "string", "minLength": 36, "maxLength": 36}, "uuid", False),
    ],
)
def test_a_format_is_no_change_only_where_the_limits_implied_it(
    limits: dict[str, Any], new_format: str, is_implied: bool
) -> None:
    old = {"type": "object", "properties": {"field": limits}}
    new = {"type": "object", "properties": {"field": {**limits, "format": new_format}}}
    said = [] if is_implied else [f"$.field: had the format None, has {new_format}"]

    def found(listed: dict[str, str], written: bool) -> list[str]:
        return breaches(old, new, read=True, written=written, said_later=listed)

    for written in (False, True):
        assert found({}, written) == said
        assert found({"$.field": new_format}, written) == []
        assert found({"$.other": new_format}, written) == said
        assert found({"$.field": "another"}, written) == said
    # Those who read what we write may rely on more than before.
    assert breaches(old, new, read=False, written=True) == []


def test_another_tag_is_another_record() -> None:
    renamed = json_schema(msgspec.defstruct("Opened", [("at", str)], tag="Unlocked"))
    assert breaches(json_schema(Opened), renamed, read=True, written=True) == [
        "$: was object Opened, is now object Unlocked"
    ]


def test_words_for_people_are_no_change() -> None:
    class Described(msgspec.Struct, tag="Opened"):
        """Something else."""

        at: Annotated[str, msgspec.Meta(description="When", examples=["now"])]

    plain, described = json_schema(Opened), json_schema(Described)
    del plain["$ref"], described["$ref"]
    assert without_notes(plain)["$defs"]["Opened"] == without_notes(described)["$defs"]["Described"]


def test_a_field_may_be_called_like_a_note() -> None:
    schema = {"type": "object", "title": "T", "properties": {"title": {"type": "string"}}}
    assert without_notes(schema)["properties"] == {"title": {"type": "string"}}
