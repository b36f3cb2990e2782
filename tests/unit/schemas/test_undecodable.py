"""Bytes that anybody may write: whatever reads them has one error for all that is wrong."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.lock_events import EventHeaders, decode_event, encode_event
from schemas.lock_facts import Actor, decode_fact, encode_fact
from schemas.parked_facts import ParkedHeaders, original_headers
from schemas.partner_events import PartnerPosition, decode_envelope
from schemas.registry import decode_entry
from schemas.undecodable import MAX_NUMBER, NamedHeaders, Undecodable, only
from tests.examples_of import temp_key_used, used_event

VALUES: list[Callable[[bytes], Any]] = [decode_fact, decode_event, decode_entry, decode_envelope]
HEADERS: list[Callable[[Any], Any]] = [
    EventHeaders.from_kafka,
    ParkedHeaders.from_kafka,
    PartnerPosition.from_kafka,
    original_headers,
]
FACT = encode_fact(temp_key_used(user_id="user-1"))
POISON = [
    b"",
    b"\xff",
    b"null",
    b"NaN",
    b'"\xed\xa0\x80"',
    b"[" * 100_000,
    b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b',"type":"TempKeyUsed"}',
    FACT.replace(b"user-1", b"\xff"),
    FACT.replace(b"user-1", b"\\ud800"),
    FACT.replace(b"user-1", b"\\u0000"),
    FACT.replace(b'"lockId":7', b'"lockId":' + b"7" * 5000),
    FACT.replace(b'"lockId":7', b'"lockId":9223372036854775808'),
    FACT.replace(b'"lockId":7', b'"lockId":1e400'),
]


@pytest.mark.parametrize("decode", VALUES)
@pytest.mark.parametrize("value", POISON, ids=range(len(POISON)))
def test_what_is_no_record_raises_one_error(decode: Callable[[bytes], Any], value: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(value)


@given(st.binary(max_size=40), st.integers(0, len(FACT)), st.integers(0, 8))
def test_a_fact_with_any_bytes_put_in_is_read_or_undecodable(
    bytes_: bytes, at: int, lost: int
) -> None:
    damaged = FACT[:at] + bytes_ + FACT[at + lost :]
    for decode in VALUES:
        with suppress(Undecodable):
            decode(damaged)


ANY_HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "event-id",
                "event-type",
                "org-id",
                "version",
                "source-offset",
                "position",
                "sequence",
                "parked-reason",
                "parked-detail",
                "parked-at",
                "source-topic",
                "lock-id",
                "x",
            ]
        ),
        st.none()
        | st.binary(max_size=30)
        | st.sampled_from(
            [b"7", b"-1", b" 7", b"1_000", "²".encode(), b"9" * 5000, b"undecodable"]
        ),
    ),
    max_size=14,
)


@given(ANY_HEADERS)
def test_any_headers_are_read_or_undecodable(headers: list[tuple[str, bytes]]) -> None:
    for read in HEADERS:
        with suppress(Undecodable):
            read(tuple(headers))


@pytest.mark.parametrize(
    "number",
    [
        *(b"", b"-1", b"+1", b" 7", b"7\n", b"007", b"1_000", b"0x7", b"7.0", None),
        *("²".encode(), "٧".encode(), b"9223372036854775808", b"9" * 5000),
    ],
    ids=range(14),
)
def test_an_offset_has_one_spelling(number: bytes) -> None:
    sound = EventHeaders(str(uuid4()), "TempKeyUsed", "acme", 7, 41).to_kafka()
    for name in ("version", "source-offset"):
        damaged = tuple((k, number if k == name else v) for k, v in sound)
        with pytest.raises(Undecodable, match=name):
            EventHeaders.from_kafka(damaged)
    with pytest.raises(Undecodable):
        PartnerPosition.from_kafka((("source-offset", number), ("sequence", b"1")))
    with pytest.raises(Undecodable):
        PartnerPosition.from_kafka((("position", b"sealed"), ("sequence", number)))


def test_what_no_database_holds_is_no_event() -> None:
    value = encode_event(used_event())
    for field in (b'"version":', b'"usedCount":'):
        head, _, rest = value.partition(field)
        digits = rest[: next(i for i, b in enumerate(rest) if b not in b"0123456789")]
        with pytest.raises(Undecodable):
            decode_event(head + field + b"9" * 19 + rest[len(digits) :])


def test_the_texts_of_a_fact_are_bounded() -> None:
    for length, taken in ((64, True), (65, False), (1_000_000, False)):
        actor = Actor(kind="user", subject="alice", org_id="acme", key_id="k" * length)
        value = encode_fact(msgspec.structs.replace(temp_key_used(), actor=actor))
        if taken:
            decode_fact(value)
        else:
            with pytest.raises(Undecodable, match="keyId"):
                decode_fact(value)


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(Undecodable) as undecodable:
        read()
    return str(undecodable.value)


def test_headers_are_read_by_name_and_the_last_of_a_name_counts() -> None:
    named = NamedHeaders((("a", b"1"), ("b", b"\xff"), ("a", b"2"), ("zero", b"0")))
    assert (named.text("a"), named.number("a"), named.value("a")) == ("2", 2, b"2")
    assert named.number("zero") == 0
    assert named.value("none") is None
    assert refusal(lambda: named.text("b")) == "the header 'b' is not UTF-8"
    assert refusal(lambda: named.text("none")) == "the header 'none' is missing"
    assert refusal(lambda: named.number("none")) == "the header 'none' is missing"
    told = f"the header 'b' is no number from 0 to {MAX_NUMBER}"
    assert refusal(lambda: named.number("b")) == told


@pytest.mark.parametrize("number", [0, 1, 10, 10**18, MAX_NUMBER])
def test_numbers_are_taken_up_to_what_databases_hold(number: int) -> None:
    assert NamedHeaders((("n", b"%d" % number),)).number("n") == number


@pytest.mark.parametrize("digits", [b"00", b"01", b"9223372036854775808", b"10000000000000000000"])
def test_numbers_beyond_that_or_with_zeros_before_them_are_none(digits: bytes) -> None:
    assert "is no number" in refusal(lambda: NamedHeaders((("n", digits),)).number("n"))


def test_only_a_header_that_comes_once_is_unambiguous() -> None:
    headers = (("a", b"1"), ("b", b"2"), ("b", b"2"))
    assert [only(headers, name) for name in "abc"] == [b"1", None, None]


def test_what_is_wrong_is_said_in_msgspecs_words_or_ours() -> None:
    deep = b'{"type":"TempKeyUsed","x":' + b"[" * 100_000
    assert refusal(lambda: decode_event(deep)) == "JSON is nested too deep"
    assert refusal(lambda: decode_event(b"{")) == "Input data was truncated"
    late = msgspec.structs.replace(temp_key_used(), occurred_at="2026-13-23T10:00:00Z")
    told = refusal(lambda: decode_fact(encode_fact(late)))
    assert told.startswith("month must be in 1..12")
    assert told.endswith(" - at `$.occurredAt`")
    early = msgspec.structs.replace(temp_key_used(), occurred_at="0001-01-01T00:00:00+14:00")
    assert refusal(lambda: decode_fact(encode_fact(early))).endswith(" - at `$.occurredAt`")
    actor = Actor(kind="user", subject="alice", key_id="k" * 65)
    long = encode_fact(msgspec.structs.replace(temp_key_used(), actor=actor))
    told = "Expected `str` of length <= 64 - at `$.actor.keyId`"
    assert refusal(lambda: decode_fact(long)) == told


def test_versions_and_counts_are_taken_up_to_what_databases_hold() -> None:
    for most in ({"version": MAX_NUMBER}, {"used_count": MAX_NUMBER}):
        event = used_event(**most)  # type: ignore[arg-type]
        assert decode_event(encode_event(event)) == event
    told = f"Expected `int` <= {MAX_NUMBER} - at "
    beyond = encode_event(used_event(version=MAX_NUMBER + 1))
    assert refusal(lambda: decode_event(beyond)) == told + "`$.version`"
    beyond = encode_event(used_event(used_count=MAX_NUMBER + 1))
    assert refusal(lambda: decode_event(beyond)) == told + "`$.data.usedCount`"


PARKED = ParkedHeaders(
    "unknown-lock",
    "there is no lock 7",
    "lock-facts",
    12,
    "2026-11-23T10:00:00.123Z",
    event_id="01a20943-063b-7611-93e4-06cdc29e2571",
    lock_id=7,
    org_id="acme",
)


def test_parked_headers_survive_a_round_trip_with_and_without_what_could_not_be_read() -> None:
    assert PARKED.to_kafka() == (
        ("parked-reason", b"unknown-lock"),
        ("parked-detail", b"there is no lock 7"),
        ("parked-at", b"2026-11-23T10:00:00.123Z"),
        ("source-topic", b"lock-facts"),
        ("source-offset", b"12"),
        ("event-id", b"01a20943-063b-7611-93e4-06cdc29e2571"),
        ("lock-id", b"7"),
        ("org-id", b"acme"),
    )
    bare = msgspec.structs.replace(PARKED, event_id=None, lock_id=None, org_id=None)
    for headers in (PARKED, bare):
        brought = (("event-id", b"lies"), ("parked-reason", b"lies"), ("x", b"1"))
        assert ParkedHeaders.from_kafka(brought + headers.to_kafka()) == headers
        assert original_headers(brought + headers.to_kafka()) == brought
    assert {field.encode_name for field in msgspec.structs.fields(ParkedHeaders)} == {
        name for name, _ in PARKED.to_kafka()
    }


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("parked-reason", b"boredom", "Invalid enum value 'boredom'"),
        ("parked-detail", b"a\0b", "the header 'parked-detail' holds a null character"),
        ("org-id", b"ac me", "the header 'org-id' is no organisation's id"),
        ("event-id", b"7", "badly formed hexadecimal UUID string"),
        ("source-offset", b"-1", f"the header 'source-offset' is no number from 0 to {MAX_NUMBER}"),
    ],
)
def test_parked_headers_that_no_projector_writes_are_undecodable(
    name: str, value: bytes, told: str
) -> None:
    own = tuple((key, value if key == name else kept) for key, kept in PARKED.to_kafka())
    assert refusal(lambda: ParkedHeaders.from_kafka(own)) == told
    told = "the header 'parked-reason' is missing"
    assert refusal(lambda: ParkedHeaders.from_kafka(own[1:])) == told
    assert refusal(lambda: original_headers(own[1:])) == told
