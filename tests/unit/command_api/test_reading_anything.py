"""Whatever comes is a value or the refusal, and what is accepted is read the same again."""

import json
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from command_api.errors import BadField, InvalidRequest
from command_api.requests import (
    ListEvents,
    ShowLock,
    UseTempKey,
    read_event_id,
    read_idempotency_key,
    read_list_events,
    read_lock_id,
    read_show_lock,
    read_trace,
    read_use_temp_key,
)
from runtime.errors import CommandRefused

T = TypeVar("T")
BODY = b'{"tempKeyUuid":"example_string","userId":"example_string"}'


def read_body(body: bytes) -> UseTempKey:
    return read_use_temp_key("7", [], [("Content-Type", "application/json")], body)


LATIN_1 = st.text(st.characters(max_codepoint=255), max_size=300)
HEADER_NAMES = st.sampled_from(
    [
        "content-type",
        "Content-Type",
        "content-encoding",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "x",
    ]
)
HEADER_VALUES = LATIN_1 | st.sampled_from(
    ["application/json", "application/json; charset=utf-8", "identity", '"k"', "k", '"', "00-"]
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["minVersion", "afterVersion", "limit"]) | st.text(max_size=20),
        st.integers(-10, 10**20).map(str) | st.text(max_size=30),
    ),
    max_size=4,
)


@given(st.text(max_size=40) | st.integers(-5, 10**20).map(str))
def test_any_text_is_a_lock_id_or_refused(text: str) -> None:
    read_back = read_lock_id(text)
    if isinstance(read_back, BadField):
        assert read_back.field == "id"
    else:
        assert 1 <= read_back <= 2**63 - 1
        assert read_lock_id(str(read_back)) == read_back == int(text)


def outcome(read: Callable[[], T]) -> T | CommandRefused:
    """Anything but a value or a refusal fails the test."""
    try:
        return read()
    except CommandRefused as refused:
        return refused


def fields(refused: CommandRefused) -> list[str]:
    assert isinstance(refused, InvalidRequest)
    return [bad.field for bad in refused.details]


@given(st.text(max_size=60) | st.uuids().map(str))
def test_any_text_is_an_event_id_or_refused(text: str) -> None:
    event_id = outcome(lambda: read_event_id(text, []))
    if isinstance(event_id, CommandRefused):
        assert fields(event_id) == ["eventId"]
    else:
        assert read_event_id(str(event_id), []) == event_id


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(LATIN_1 | st.text(max_size=300) | LATIN_1.map(quoted))
def test_any_text_is_an_idempotency_key_or_refused(text: str) -> None:
    key = read_idempotency_key(text)
    if isinstance(key, BadField):
        assert key.field == "Idempotency-Key"
    else:
        assert key is not None
        assert 1 <= len(key) <= 255
        assert key.isascii()
        assert key.isprintable()
        assert read_idempotency_key(quoted(key)) == key


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255))
def test_every_key_can_be_sent_quoted_and_most_bare(key: str) -> None:
    assert read_idempotency_key(quoted(key)) == key
    if not key.startswith('"') and key == key.strip():
        assert read_idempotency_key(key) == key


@given(LATIN_1 | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\n?"))
def test_any_text_is_a_trace_or_ignored(text: str) -> None:
    trace = read_trace([text], []).traceparent
    if trace is not None:
        assert trace[3:53] == text.encode()[3:53]
        assert trace == text.encode() if text.startswith("00") else trace.startswith(b"00-")
        assert len(trace) == 55
        assert read_trace([trace.decode()], []).traceparent == trace


@given(st.text(max_size=10) | st.just("7"), QUERIES)
def test_any_query_is_read_or_every_bad_field_is_named(
    lock_id: str, query: list[tuple[str, str]]
) -> None:
    readers: tuple[Callable[[], ShowLock | ListEvents], ...] = (
        lambda: read_show_lock(lock_id, query),
        lambda: read_list_events(lock_id, query),
    )
    for read in readers:
        asked = outcome(read)
        if isinstance(asked, CommandRefused):
            named = fields(asked)
            assert named
            assert all(len(name) <= 100 for name in named)
        else:
            assert asked.lock_id == int(lock_id)


@given(st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=6), st.binary(max_size=100))
def test_any_headers_are_read_or_refused(headers: list[tuple[str, str]], noise: bytes) -> None:
    for body in (BODY, noise):
        command = outcome(partial(read_use_temp_key, "7", [], headers, body))
        if isinstance(command, CommandRefused):
            assert not isinstance(command, InvalidRequest) or fields(command)
            assert str(command)
        else:
            assert command.lock_id == 7
            assert any(value.lower().startswith("application/json") for _, value in headers)


TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=128)


@given(TEXT, st.none() | TEXT, st.booleans())
def test_what_is_accepted_is_what_was_sent(use: str, user: str | None, escaped: bool) -> None:
    document = {"tempKeyUuid": use, "userId": user}
    command = read_body(json.dumps(document, ensure_ascii=escaped).encode())
    assert (command.use.temp_key_uuid, command.use.user_id) == (use, user)
    assert read_body(msgspec.json.encode(command.use)).use == command.use
