import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstream.command_api.errors import BadField, InvalidRequest, UnsupportedMediaType
from lockstream.command_api.requests import (
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

JSON = {"content-type": "application/json"}
BODY = b'{"tempKeyUuid":"example_string","userId":"example_string"}'


def read(
    body: bytes = BODY, lock_id: str = "123", headers: dict[str, str] | None = None
) -> UseTempKey:
    return read_use_temp_key(lock_id, [], {**JSON, **(headers or {})}.items(), body)


def bad_fields(body: bytes, lock_id: str = "123", **headers: str) -> set[str]:
    with pytest.raises(InvalidRequest) as caught:
        read(body, lock_id, {k.replace("_", "-"): v for k, v in headers.items()})
    return {bad.field for bad in caught.value.details}


def test_the_published_example_is_a_command() -> None:
    command = read()
    assert (command.lock_id, command.use.temp_key_uuid) == (123, "example_string")
    assert command.use.user_id == "example_string"


@pytest.mark.parametrize("body", [b'{"tempKeyUuid":"x"}', b'{"tempKeyUuid":"x","userId":null}'])
def test_a_user_may_be_left_out_or_null(body: bytes) -> None:
    assert read(body).use.user_id is None


def test_every_bad_field_of_path_header_and_body_is_named() -> None:
    body = b'{"tempKeyUuid":5,"userID":"x","userId":""}'
    assert bad_fields(body, "zero", idempotency_key="\x7f") == {
        "id",
        "Idempotency-Key",
        "tempKeyUuid",
        "userID",
        "userId",
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'"text"',
        b"\xff\xfe",
        b'{"tempKeyUuid":"\xff"}',
        b'{"tempKeyUuid":"a"}{"tempKeyUuid":"b"}',
        b"[" * 15000,
        b'{"tempKeyUuid":"\\ud800"}',
    ],
    ids=range(10),
)
def test_what_is_no_json_object_in_utf8_is_refused(body: bytes) -> None:
    assert bad_fields(body)


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ("a", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("tab\there", False),
        ("del\x7f", False),
        ("c1\x85", False),
        ("line\n", False),
        ("emoji 🔑", True),
        ("ñ" * 128, True),
        ("not-a-uuid at all", True),
    ],
)
def test_identifiers_are_opaque_text_without_control_characters(value: str, accepted: bool) -> None:
    body = json.dumps({"tempKeyUuid": value, "userId": value}).encode()
    if accepted:
        assert read(body).use.temp_key_uuid == value
    else:
        assert bad_fields(body) == {"tempKeyUuid", "userId"}


@given(st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_any_body_is_a_command_or_a_refusal_that_names_something(body: bytes) -> None:
    try:
        command = read(body)
    except InvalidRequest as refused:
        named = bool(refused.details)
    else:
        named = 1 <= len(command.use.temp_key_uuid) <= 128
    assert named


@given(
    st.dictionaries(
        st.sampled_from(["tempKeyUuid", "userId", "userID", "x"]),
        st.none() | st.integers() | st.text(max_size=140) | st.lists(st.integers(), max_size=2),
    )
)
def test_details_name_exactly_the_fields_that_are_bad(document: dict[str, object]) -> None:
    def good(name: str) -> bool:
        value = document[name]
        if name == "userId" and value is None:
            return True
        return (
            name in ("tempKeyUuid", "userId")
            and isinstance(value, str)
            and 1 <= len(value) <= 128
            and not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in value)
        )

    expected = {name for name in document if not good(name)}
    if "tempKeyUuid" not in document:
        expected.add("tempKeyUuid")
    body = json.dumps(document).encode()
    if expected:
        assert bad_fields(body) == expected
    else:
        assert read(body)


@pytest.mark.parametrize("text", ["1", "9223372036854775807"])
def test_lock_ids_are_positive_integers(text: str) -> None:
    assert read_lock_id(text) == int(text)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-1",
        "1.0",
        "abc",
        "",
        "9223372036854775808",
        "١٢٣",
        "1 ",
        "+1",
        "0x10",
        "1_0",
        "01",
        "0123",
        "%31",
    ],
)
def test_what_is_no_lock_id_is_refused(text: str) -> None:
    assert isinstance(read_lock_id(text), BadField)


@pytest.mark.parametrize(
    ("spelling", "key"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        ('"a\\"b\\\\c"', 'a"b\\c'),
        (" abc ", "abc"),
        ('"', '"'),
        ("x" * 255, "x" * 255),
        (None, None),
    ],
)
def test_quoted_and_bare_spellings_are_one_key(spelling: str | None, key: str | None) -> None:
    assert read_idempotency_key(spelling) == key


@pytest.mark.parametrize("spelling", ["", '""', "x" * 256, "é", "a\tb", "   "])
def test_what_is_no_idempotency_key_is_refused(spelling: str) -> None:
    assert isinstance(read_idempotency_key(spelling), BadField)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": ""},
        {"content-type": "application/json; charset=latin-1"},
        {"content-encoding": "gzip"},
    ],
)
def test_only_uncompressed_json_in_utf8_is_taken(headers: dict[str, str]) -> None:
    with pytest.raises(UnsupportedMediaType):
        read(headers=headers)


@pytest.mark.parametrize("value", ["application/json; charset=UTF-8", "Application/JSON"])
def test_spellings_of_the_media_type_are_taken(value: str) -> None:
    assert read(headers={"content-type": value})


def test_a_malformed_trace_is_ignored() -> None:
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert read_trace([good], []).traceparent == good.encode()
    bad = good.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32)
    assert read_trace([bad], []).traceparent is None
    assert read_trace(["nonsense"], []).traceparent is None


@pytest.mark.parametrize(
    ("lock_id", "query", "bad"),
    [
        ("1", [("limit", "0")], ["limit"]),
        ("1", [("limit", "1001")], ["limit"]),
        ("x", [("limit", "ten"), ("afterVersion", "-1")], ["id", "afterVersion", "limit"]),
        ("0", [("page", "2")], ["id", "page"]),
        ("1", [("limit", "1"), ("limit", "2")], ["limit"]),
        ("01", [("limit", "010"), ("afterVersion", "+1")], ["id", "afterVersion", "limit"]),
        ("1", [("", "")], ["query"]),
    ],
)
def test_bad_fields_of_path_and_query_are_named_together(
    lock_id: str, query: list[tuple[str, str]], bad: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_list_events(lock_id, query)
    assert [b.field for b in caught.value.details] == bad


def test_query_parameters_have_defaults() -> None:
    assert read_list_events("7", []) == ListEvents(7, 0, 100)
    assert read_show_lock("7", []) == ShowLock(7, 0)
    assert read_show_lock("7", [("minVersion", "9")]) == ShowLock(7, 9)
    with pytest.raises(InvalidRequest):
        read_show_lock("7", [("minVersion", "0")])


@pytest.mark.parametrize("name", ["Idempotency-Key", "Content-Type", "Content-Encoding"])
def test_a_header_that_counts_may_come_once_only(name: str) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
    headers["Content-Encoding"] = "identity"
    with pytest.raises(InvalidRequest) as caught:
        read_use_temp_key("1", [], [*headers.items(), (name, headers[name])], BODY)
    assert [b.field for b in caught.value.details] == [name]


def test_two_traces_are_none() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = [*JSON.items(), ("traceparent", trace)]
    assert read_use_temp_key("1", [], headers, BODY).trace.traceparent == trace.encode()
    assert read_use_temp_key("1", [], [*headers, headers[-1]], BODY).trace.traceparent is None


def test_a_query_that_nobody_knows_is_refused_wherever_it_stands() -> None:
    for read_it in (
        lambda: read_use_temp_key("1", [("dryRun", "1"), ("dryRun", "2")], JSON.items(), BODY),
        lambda: read_event_id(EVENT, [("dryRun", "1")]),
        lambda: read_show_lock("1", [("dryRun", "1")]),
    ):
        with pytest.raises(InvalidRequest) as caught:
            read_it()
        assert [b.field for b in caught.value.details] == ["dryRun"]


EVENT = "01a20943-063b-7611-93e4-06cdc29e2571"


def test_an_event_id_has_one_spelling() -> None:
    assert str(read_event_id(EVENT, [])) == EVENT
    for text in (EVENT.upper(), EVENT.replace("-", ""), f"{{{EVENT}}}", f"urn:uuid:{EVENT}", ""):
        with pytest.raises(InvalidRequest):
            read_event_id(text, [])


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"tempKeyUuid":"a","tempKeyUuid":"b"}', {"tempKeyUuid"}),
        (b'{"tempKeyUuid":"a","tempKeyUuid":"a"}', {"tempKeyUuid"}),
        (b'{"tempKeyUuid":"a","userId":"b","userId":null}', {"userId"}),
        (b'{"tempKeyUuid":"a","\\u0074empKeyUuid":"b"}', {"tempKeyUuid"}),
        (b'{"tempKeyUuid":"a","x":{"y":1,"y":2}}', {"x", "y"}),
        (b'{"tempKeyUuid":"a","x":[[{"y":1,"y":2}]]}', {"x", "y"}),
    ],
)
def test_one_name_twice_in_a_body_is_refused_at_any_depth(body: bytes, named: set[str]) -> None:
    assert bad_fields(body) == named
