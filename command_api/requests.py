"""Reads path, headers and body of a request together, to name every bad field. Pure."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from command_api.errors import BadField, InvalidRequest, UnsupportedMediaType
from schemas.lock_facts import TempKeyUse
from schemas.primitives import MAX_LOCK_ID
from schemas.trace_context import NO_TRACE, TraceContext

MAX_BODY_BYTES = 16 * 1024
MAX_TEXT = 128
MAX_KEY = 255
_QUOTED = r'(?:[ !#-\[\]-~]|\\[\\"])'
_LONGEST = MAX_KEY - 2
KEY_PATTERN = (
    rf'[!#-~](?:[ -~]{{0,{_LONGEST}}}[!-~])?|"(?:[!#-~]|[ -~]{{1,{_LONGEST}}}[!-~])?'
    rf'|"{_QUOTED}{{1,{MAX_KEY}}}"'
)
"""What :func:`read_idempotency_key` accepts, for descriptions: bare but not ``""``, or quoted."""
MAX_PAGE = 1000
DEFAULT_PAGE = 100

GIVEN_TWICE = "must be given once only"
ONCE_ONLY = ("Idempotency-Key", "Content-Type", "Content-Encoding")
TRACE = ("traceparent", "tracestate")
READ_HEADERS = frozenset(name.lower() for name in (*ONCE_ONLY, *TRACE))
"""All headers that a command is read from."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_QUOTED_KEY = re.compile(rf'"{_QUOTED}*"\Z')
_DIGITS = re.compile(r"^(0|[1-9][0-9]{0,18})\Z")
"""One spelling: no zeros before it, no sign."""


_UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class UseTempKey(msgspec.Struct, frozen=True):
    """Holds the command, read and valid. ``trace``: W3C Trace Context, if it came with one."""

    lock_id: int
    use: TempKeyUse
    idempotency_key: str | None
    trace: TraceContext


_strict_body = msgspec.json.Decoder(TempKeyUse)
_body_fields = {f.encode_name: f.required for f in msgspec.structs.fields(TempKeyUse)}
_quoted_fields = [b'"%b"' % name.encode() for name in _body_fields]


Pairs = Iterable[tuple[str, str]]
"""Names and values as they came: a name may come more than once."""


def read_use_temp_key(raw_lock_id: str, query: Pairs, headers: Pairs, body: bytes) -> UseTempKey:
    """Reads the command. ``headers``: at least those of ``READ_HEADERS``.

    Raises:
        UnsupportedMediaType: the body isn't uncompressed ``application/json``.
        InvalidRequest: with every bad field of path, query, headers and body.
    """
    given = _grouped((name.lower(), value) for name, value in headers)
    first = {name: values[0] for name, values in given.items()}
    check_media_type(first)
    bad = [
        BadField(name, GIVEN_TWICE) for name in ONCE_ONLY if len(given.get(name.lower(), ())) > 1
    ]
    lock_id = _collect(bad, read_lock_id, raw_lock_id)
    if query:
        _read_names(bad, query, ())
    key = _collect(bad, read_idempotency_key, first.get("idempotency-key"))
    use = _read_body(bad, body)
    if bad or lock_id is None or use is None:
        raise InvalidRequest(tuple(bad))
    trace = NO_TRACE
    if "traceparent" in given:
        trace = read_trace(given["traceparent"], given.get("tracestate", ()))
    return UseTempKey(lock_id, use, key, trace)


def _grouped(pairs: Pairs) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _collect(bad: list[BadField], read: Any, text: Any) -> Any:
    value = read(text)
    if isinstance(value, BadField):
        bad.append(value)
        return None
    return value


def check_media_type(headers: Mapping[str, str]) -> None:
    """Checks that the body is uncompressed ``application/json`` in UTF-8.

    Raises:
        UnsupportedMediaType: the body is something else.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType("Send the body uncompressed, without Content-Encoding")
    media_type, *parameters = headers.get("content-type", "").split(";")
    if media_type.strip().lower() != "application/json":
        raise UnsupportedMediaType("Send the body with Content-Type: application/json")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower()
        if name.strip().lower() == "charset" and charset not in ("utf-8", "utf8"):
            raise UnsupportedMediaType("Send the body as UTF-8")


def read_lock_id(text: str) -> int | BadField:
    if _DIGITS.match(text) and 1 <= int(text) <= MAX_LOCK_ID:
        return int(text)
    return BadField("id", f"must be an integer from 1 to {MAX_LOCK_ID}")


def read_idempotency_key(text: str | None) -> str | BadField | None:
    """Reads a quoted string (RFC 8941 section 3.3.3) and its bare spelling as one key. What is
    quoted in another way is a bare key, with its quotes."""
    if text is None:
        return None
    key = text.strip(" \t")
    if _QUOTED_KEY.match(key):
        key = re.sub(r"\\(.)", r"\1", key[1:-1])
    if 1 <= len(key) <= MAX_KEY and all(" " <= c <= "~" for c in key):
        return key
    return BadField("Idempotency-Key", f"must be 1 to {MAX_KEY} printable ASCII characters")


def read_trace(traceparents: Sequence[str], tracestates: Sequence[str]) -> TraceContext:
    """Reads the W3C Trace Context; what is malformed is ignored (section 4.3). ``tracestate`` may
    come in several lines, which are one list (section 3.3.1.1)."""
    parent = traceparents[0].encode() if len(traceparents) == 1 else None
    return TraceContext.read(parent, ",".join(tracestates).encode() or None)


def _read_body(bad: list[BadField], body: bytes) -> TempKeyUse | None:
    try:
        use = _strict_body.decode(body)
    except ValueError as error:
        found = list(_bad_fields(body))
        # What msgspec refuses is never let through, even if the search finds no culprit.
        bad.extend(found or [BadField("body", str(error))])
        return None
    if _has_each_name_once(body):
        return use
    twice = repeated_names(body)
    bad.extend(BadField(name, GIVEN_TWICE) for name in twice)
    return None if twice else use


def _has_each_name_once(body: bytes) -> bool:
    """Tells whether a body with known fields only is sure to repeat none, at little cost. Without
    an escape each name is spelt out; a value that looks like a name only makes this say no."""
    return b"\\" not in body and all(body.count(name) <= 1 for name in _quoted_fields)


def repeated_names(document: bytes) -> list[str]:
    """Finds the names that one object of a JSON document has more than once, at any depth: readers
    differ in which of the values they take. Returns nothing if the document is no JSON."""
    repeated: dict[str, None] = {}

    def note(pairs: list[tuple[str, object]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            repeated.update((name, None) for name in names if names.count(name) > 1)

    try:
        json.loads(document, object_pairs_hook=note)
    except (ValueError, RecursionError):
        return []
    return list(repeated)


def _bad_fields(body: bytes) -> list[BadField]:
    """Names all bad fields, where msgspec stops at the first."""
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return [BadField("body", "must be valid JSON in UTF-8")]
    if not isinstance(document, dict):
        return [BadField("body", "must be a JSON object")]
    bad = [BadField(name[:100], GIVEN_TWICE) for name in repeated_names(body)]
    bad += [
        BadField(str(name)[:100], "is not a known field")
        for name in document
        if name not in _body_fields
    ]
    for name, required in _body_fields.items():
        if name not in document:
            if required:
                bad.append(BadField(name, "is required"))
            continue
        value = document[name]
        if value is None and not required:
            continue
        if not isinstance(value, str):
            bad.append(BadField(name, "must be a string"))
        elif not 1 <= len(value) <= MAX_TEXT:
            bad.append(BadField(name, f"must have 1 to {MAX_TEXT} characters"))
        elif _CONTROL.search(value):
            bad.append(BadField(name, "must not contain control characters"))
    return bad


class ShowLock(msgspec.Struct, frozen=True):
    """Asks for a lock. ``min_version``: 0 if none is wanted."""

    lock_id: int
    min_version: int


class ListEvents(msgspec.Struct, frozen=True):
    """Asks for a page of a lock's events after a version (0: from the first)."""

    lock_id: int
    after_version: int
    limit: int


def read_show_lock(raw_lock_id: str, query: Pairs) -> ShowLock:
    """Reads the question for a lock.

    Raises:
        InvalidRequest: with every bad field of path and query.
    """
    bad: list[BadField] = []
    lock_id = _collect(bad, read_lock_id, raw_lock_id)
    given = _read_names(bad, query, ("minVersion",))
    version = _read_number(bad, given, "minVersion", 1, MAX_LOCK_ID, 0)
    if bad:
        raise InvalidRequest(tuple(bad))
    return ShowLock(lock_id, version)


def read_list_events(raw_lock_id: str, query: Pairs) -> ListEvents:
    """Reads the question for a lock's events.

    Raises:
        InvalidRequest: with every bad field of path and query.
    """
    bad: list[BadField] = []
    lock_id = _collect(bad, read_lock_id, raw_lock_id)
    given = _read_names(bad, query, ("afterVersion", "limit"))
    after = _read_number(bad, given, "afterVersion", 0, MAX_LOCK_ID, 0)
    limit = _read_number(bad, given, "limit", 1, MAX_PAGE, DEFAULT_PAGE)
    if bad:
        raise InvalidRequest(tuple(bad))
    return ListEvents(lock_id, after, limit)


def read_event_id(text: str, query: Pairs) -> UUID:
    """Reads the id of an event, which has one spelling.

    Raises:
        InvalidRequest: not a UUID in lower case with hyphens, or there is a query.
    """
    bad: list[BadField] = []
    event_id: UUID | None = _collect(bad, _event_id, text)
    _read_names(bad, query, ())
    if bad or event_id is None:
        raise InvalidRequest(tuple(bad))
    return event_id


def _event_id(text: str) -> UUID | BadField:
    if _UUID.match(text):
        return UUID(text)
    return BadField("eventId", "must be a UUID in lower case, with its hyphens")


def _read_names(bad: list[BadField], query: Pairs, allowed: tuple[str, ...]) -> dict[str, str]:
    given = _grouped(query)
    for name, values in given.items():
        if name not in allowed:
            bad.append(BadField(name[:100] or "query", "is not a known query parameter"))
        elif len(values) > 1:
            bad.append(BadField(name, GIVEN_TWICE))
    return {name: values[0] for name, values in given.items()}


def _read_number(
    bad: list[BadField], query: Mapping[str, str], name: str, least: int, most: int, default: int
) -> int:
    text = query.get(name)
    if text is None:
        return default
    if _DIGITS.match(text) and least <= int(text) <= most:
        return int(text)
    bad.append(BadField(name, f"must be an integer from {least} to {most}"))
    return default
