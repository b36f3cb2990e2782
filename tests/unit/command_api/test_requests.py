import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_api import requests
from command_api.errors import BadField, InvalidRequest, UnsupportedMediaType
from command_api.requests import (
    ListEvents,
    ShowLock,
    UseTempKey,
    check_media_type,
    read_event_id,
    read_idempotency_key,
    read_list_events,
    read_lock_id,
    read_show_lock,
    read_trace,
    read_use_temp_key,
    repeated_names,
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


def test_the_longest_text_is_not_named_beside_what_is_bad() -> None:
    body = json.dumps({"tempKeyUuid": "x" * 128, "userId": 7}).encode()
    assert bad_fields(body) == {"userId"}


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
        ("XkX", "XkX"),
        ('"' + '\\"' * 255 + '"', '"' * 255),
        ('"a"b"', '"a"b"'),
        ('"a\\b"', '"a\\b"'),
        (None, None),
    ],
)
def test_quoted_and_bare_spellings_are_one_key(spelling: str | None, key: str | None) -> None:
    assert read_idempotency_key(spelling) == key


@pytest.mark.parametrize("spelling", ["", '""', "x" * 256, '"' * 256, "é", "a\tb", "   ", "\vk\v"])
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


def details_of(read_it: Callable[[], object]) -> list[tuple[str, str]]:
    """What a refusal says of each field."""
    with pytest.raises(InvalidRequest) as caught:
        read_it()
    return [(bad.field, bad.message) for bad in caught.value.details]


TWICE = "must be given once only"


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (b"{", [("body", "must be valid JSON in UTF-8")]),
        (b'{"tempKeyUuid":"\xff"}', [("body", "must be valid JSON in UTF-8")]),
        (b"[" * 15000, [("body", "must be valid JSON in UTF-8")]),
        (b"[]", [("body", "must be a JSON object")]),
        (b"null", [("body", "must be a JSON object")]),
        (b"{}", [("tempKeyUuid", "is required")]),
        (b'{"tempKeyUuid":null}', [("tempKeyUuid", "must be a string")]),
        (b'{"tempKeyUuid":"a","userId":7}', [("userId", "must be a string")]),
        (b'{"tempKeyUuid":""}', [("tempKeyUuid", "must have 1 to 128 characters")]),
        (
            b'{"tempKeyUuid":"' + b"x" * 129 + b'","userId":null}',
            [("tempKeyUuid", "must have 1 to 128 characters")],
        ),
        (
            b'{"tempKeyUuid":"a\\u0000"}',
            [("tempKeyUuid", "must not contain control characters")],
        ),
        (
            b'{"' + b"n" * 200 + b'":1,"tempKeyUuid":"a"}',
            [("n" * 100, "is not a known field")],
        ),
        (
            b'{"' + b"n" * 200 + b'":1,"' + b"n" * 200 + b'":1,"tempKeyUuid":"a"}',
            [("n" * 100, TWICE), ("n" * 100, "is not a known field")],
        ),
        (b'{"tempKeyUuid":"a","tempKeyUuid":"b"}', [("tempKeyUuid", TWICE)]),
        (
            b'{"b":1,"userId":7}',
            [
                ("b", "is not a known field"),
                ("tempKeyUuid", "is required"),
                ("userId", "must be a string"),
            ],
        ),
    ],
    ids=range(15),
)
def test_each_bad_field_of_a_body_is_told_with_what_is_wrong(
    body: bytes, details: list[tuple[str, str]]
) -> None:
    assert details_of(lambda: read(body)) == details


def test_what_msgspec_refuses_and_nobody_can_name_is_told_in_its_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests, "_bad_fields", lambda body: [])
    ((field, message),) = details_of(lambda: read(b"{}"))
    assert (field, message) == ("body", "Object missing required field `tempKeyUuid`")


LOCK_ID = ("id", "must be an integer from 1 to 9223372036854775807")
KEY = ("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
UUID_WANTED = ("eventId", "must be a UUID in lower case, with its hyphens")
UNKNOWN = "is not a known query parameter"


def test_bad_fields_of_path_query_and_headers_are_told_in_order() -> None:
    headers = [*JSON.items(), ("Idempotency-Key", ""), ("IDEMPOTENCY-KEY", "k")]
    query = [("q" * 200, "1"), ("", "")]
    assert details_of(lambda: read_use_temp_key("0", query, headers, BODY)) == [
        ("Idempotency-Key", TWICE),
        LOCK_ID,
        ("q" * 100, UNKNOWN),
        ("query", UNKNOWN),
        KEY,
    ]
    assert details_of(lambda: read_use_temp_key("0", [], JSON.items(), BODY)) == [LOCK_ID]
    assert details_of(lambda: read_use_temp_key("1", [], JSON.items(), b"{}"))
    assert details_of(lambda: read_event_id("x", [("a", "1")])) == [UUID_WANTED, ("a", UNKNOWN)]
    assert details_of(lambda: read_event_id("x", [])) == [UUID_WANTED]
    version = ("minVersion", "must be an integer from 1 to 9223372036854775807")
    assert details_of(lambda: read_show_lock("x", [("minVersion", "0")])) == [LOCK_ID, version]
    assert details_of(lambda: read_show_lock("x", [])) == [LOCK_ID]
    twice = [("minVersion", "1"), ("minVersion", "2")]
    assert details_of(lambda: read_show_lock("1", twice)) == [("minVersion", TWICE)]
    assert details_of(lambda: read_list_events("x", [("afterVersion", "-1"), ("limit", "0")])) == [
        LOCK_ID,
        ("afterVersion", "must be an integer from 0 to 9223372036854775807"),
        ("limit", "must be an integer from 1 to 1000"),
    ]


def test_numbers_are_taken_up_to_their_bounds() -> None:
    most = 2**63 - 1
    assert read_show_lock("1", [("minVersion", "1")]) == ShowLock(1, 1)
    assert read_show_lock(f"{most}", [("minVersion", f"{most}")]) == ShowLock(most, most)
    assert details_of(lambda: read_show_lock("1", [("minVersion", f"{most + 1}")]))
    least = [("afterVersion", "0"), ("limit", "1")]
    assert read_list_events("1", least) == ListEvents(1, 0, 1)
    greatest = [("afterVersion", f"{most}"), ("limit", "1000")]
    assert read_list_events("1", greatest) == ListEvents(1, most, 1000)
    assert details_of(lambda: read_list_events("1", [("afterVersion", f"{most + 1}")]))


def refused_type(**headers: str) -> str:
    with pytest.raises(UnsupportedMediaType) as caught:
        check_media_type({name.replace("_", "-"): value for name, value in headers.items()})
    return str(caught.value)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        " application/json ; charset=utf-8",
        'application/json;charset="UTF8"',
        "application/json; charset = utf-8 ; version=1",
        "application/json; q=latin-1",
        "application/json;",
    ],
)
@pytest.mark.parametrize(
    "encoding", [{}, {"content-encoding": ""}, {"content-encoding": " IDENTITY "}]
)
def test_json_in_utf8_is_taken_however_it_is_named(
    content_type: str, encoding: dict[str, str]
) -> None:
    check_media_type({"content-type": content_type, **encoding})


def test_another_type_is_refused_with_what_to_send() -> None:
    json_wanted = "Send the body with Content-Type: application/json"
    assert refused_type() == refused_type(content_type="text/plain") == json_wanted
    assert refused_type(content_type="application/json+x; charset=utf-8") == json_wanted
    assert (
        refused_type(content_encoding="gzip", content_type="application/json")
        == "Send the body uncompressed, without Content-Encoding"
    )
    for spelling in (
        "charset=latin-1",
        "a=b;charset=utf-16",
        'CHARSET="x"',
        "charset",
        "charset=utf-8=x",
        "charset=Xutf-8X",
    ):
        told_what = refused_type(content_type=f"application/json; {spelling}")
        assert told_what == "Send the body as UTF-8"


def test_a_trace_and_its_state_come_through_in_one_list() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = [*JSON.items(), ("TraceParent", parent), ("TraceState", "a=1"), ("tracestate", "b=2")]
    command = read_use_temp_key("7", [], [*headers, ("Idempotency-Key", '"k"')], BODY)
    assert command.trace.traceparent == parent.encode()
    assert command.trace.tracestate == b"a=1,b=2"
    assert command.idempotency_key == "k"
    assert read_trace([parent], []).tracestate is None
    assert read_trace([], ["a=1"]).traceparent is None


@pytest.mark.parametrize(
    ("document", "names"),
    [
        (b'{"a":1,"b":2,"a":3,"c":4,"c":5,"a":6}', ["a", "c"]),
        (b'{"a":{"b":1},"c":{"b":1}}', []),
        (b"[1]", []),
        (b"{", []),
        (b"\xff", []),
        (b"[" * 100_000, []),
    ],
    ids=range(6),
)
def test_repeated_names_are_told_once_each(document: bytes, names: list[str]) -> None:
    assert repeated_names(document) == names


@pytest.mark.parametrize("key", ['"a', 'a"', '\\"', "~", " x y ", '"" x'])
def test_a_key_that_is_not_quoted_whole_is_bare(key: str) -> None:
    assert read_idempotency_key(key) == key.strip()
    assert read_idempotency_key(f"\t{key}\t ") == key.strip()
