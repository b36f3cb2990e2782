"""Whether a published record's schema has changed compatibly. Pure.

What we write is read by others as they knew it; what we read was written by others, or by an older
Lockstream, as they knew it. So fields may be added, and nothing else may be taken for granted less
by what we write or asked for more by what we read.
"""

from collections.abc import Collection, Iterator, Mapping
from math import inf
from typing import Any

Schema = dict[str, Any]

_NOTES = ("title", "description", "$schema", "$comment", "examples")
_BITS = {"int32": 32, "int64": 64}
_TIME = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$"
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def breaches(
    old: Schema,
    new: Schema,
    *,
    read: bool,
    written: bool,
    said_later: Mapping[str, str] | None = None,
    withdrawn: Collection[str] = (),
) -> list[str]:
    """What breaks, a sentence each, beginning with the field (``$.data.userId``). ``read``: we read
    such records; ``written``: we write them. ``said_later``: fields whose format was true of every
    record before a schema said so; ``withdrawn``: fields that were required and may be missing."""
    comparison = _Comparison(old, new, read, written, said_later or {}, withdrawn)
    found = comparison.compare(old, new, "$")
    return list(dict.fromkeys(found))


def without_notes(schema: Any) -> Any:
    """The schema without what is there for people only."""
    if isinstance(schema, list):
        return [without_notes(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: {field: without_notes(part) for field, part in value.items()}
        if name in ("properties", "$defs")
        else without_notes(value)
        for name, value in schema.items()
        if name not in _NOTES
    }


class _Comparison:
    def __init__(
        self,
        old: Schema,
        new: Schema,
        read: bool,
        written: bool,
        said_later: Mapping[str, str],
        withdrawn: Collection[str],
    ) -> None:
        self._old_definitions = old.get("$defs", {})
        self._new_definitions = new.get("$defs", {})
        self._read = read
        self._written = written
        self._said_later = said_later
        self._withdrawn = withdrawn

    def compare(self, old: Schema, new: Schema, field: str) -> Iterator[str]:
        before = _alternatives(old, self._old_definitions)
        after = _alternatives(new, self._new_definitions)
        for kind, schema in before.items():
            if kind in after:
                yield from self._compare_alike(schema, after[kind], field)
            elif (self._read and "any" not in after) or (self._written and kind != "null"):
                yield f"{field}: was {kind}, is now {' or '.join(after)}"
        added = [kind for kind in after if kind not in before]
        if set(before) <= set(after):
            yield from self._compare_added(added, field)

    def _compare_added(self, added: list[str], field: str) -> Iterator[str]:
        """Another type of record or data is an addition; another type of value is not."""
        for kind in added:
            if self._written and not kind.startswith("object "):
                yield f"{field}: may now be {kind} too in what we write"

    def _compare_alike(self, old: Schema, new: Schema, field: str) -> Iterator[str]:
        yield from self._compare_fields(old, new, field)
        if "items" in old or "items" in new:
            yield from self.compare(old.get("items", {}), new.get("items", {}), f"{field}[]")
        yield from self._compare_format(old, new, field)
        if self._read:
            yield from _narrowed(old, new, field)

    def _compare_fields(self, old: Schema, new: Schema, field: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
        for name, schema in before.items():
            inner = f"{field}.{name}"
            if name not in after:
                yield f"{inner}: is lost"
                continue
            lacking = name in needed_before - needed_after
            if self._written and lacking and inner not in self._withdrawn:
                yield f"{inner}: was required, is now optional in what we write"
            if self._read and name in needed_after - needed_before:
                yield f"{inner}: was optional, is now required in what we read"
            yield from self.compare(schema, after[name], inner)
        if self._read:
            for name in sorted(needed_after & set(after) - set(before)):
                yield f"{field}.{name}: is new and required in what we read: older records lack it"

    def _compare_format(self, old: Schema, new: Schema, field: str) -> Iterator[str]:
        before, after = old.get("format"), new.get("format")
        is_new = before is None and after is not None
        if is_new and (_implies(old, after) or self._said_later.get(field) == after):
            return
        asks_for_more = self._read and after and (before, after) != ("int32", "int64")
        promises_less = self._written and before and (before, after) != ("int64", "int32")
        if before != after and (asks_for_more or promises_less):
            yield f"{field}: had the format {before}, has {after}"


def _implies(schema: Schema, its_format: object) -> bool:
    """Whether the schema's own limits let nothing through that is not of this format."""
    if its_format == "date-time":
        return schema.get("pattern") == _TIME
    bits = _BITS.get(str(its_format))
    if bits is None or schema.get("type") != "integer":
        return False
    most = 2 ** (bits - 1)
    return bool(-most <= schema.get("minimum", -inf) and schema.get("maximum", inf) < most)


def _narrowed(old: Schema, new: Schema, field: str) -> Iterator[str]:
    """What was valid, or meant something, and no longer does."""
    for name in _LEAST:
        if name in new and new[name] > old.get(name, float("-inf")):
            yield f"{field}: {name} was {old.get(name)}, is {new[name]} in what we read"
    for name in _MOST:
        if name in new and new[name] < old.get(name, float("inf")):
            yield f"{field}: {name} was {old.get(name)}, is {new[name]} in what we read"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{field}: the pattern is another in what we read"
    if "enum" in new:
        lost = [value for value in old.get("enum", ("any value",)) if value not in new["enum"]]
        if lost:
            yield f"{field}: {', '.join(map(str, lost))} is no longer known in what we read"
    if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        yield f"{field}: unknown fields are now refused in what we read"
    if "default" in old and "default" in new and old["default"] != new["default"]:
        yield f"{field}: left out, it meant {old['default']}, now {new['default']} in what we read"


def _alternatives(schema: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """What a value may be, by kind: a JSON type, or an object of one type (``object TempKeyUsed``).
    A ``default`` that stands beside ``anyOf`` belongs to each."""
    whole = _resolved(schema, definitions)
    parts = whole.get("anyOf") or whole.get("oneOf")
    if parts is None:
        return {_kind(whole): whole}
    shared = {"default": whole["default"]} if "default" in whole else {}
    return {
        kind: {**alternative, **shared}
        for part in parts
        for kind, alternative in _alternatives(part, definitions).items()
    }


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return schema


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if kind == "object":
        return f"object {_tag(schema)}".rstrip()
    if isinstance(kind, str):
        return kind
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values and all(isinstance(value, str) for value in values):
        return "string"
    return "any"


def _tag(schema: Schema) -> str:
    """The one value of the field that tells the types of a union apart."""
    for name in ("type", "kind"):
        values = schema.get("properties", {}).get(name, {}).get("enum", ())
        if len(values) == 1 and name in schema.get("required", ()):
            return str(values[0])
    return ""
