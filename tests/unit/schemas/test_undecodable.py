"""Bytes that anybody may write: whatever reads them has one error for all that is wrong."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockstream.schemas.lock_events import EventHeaders, decode_event, encode_event
from lockstream.schemas.lock_facts import Actor, decode_fact, encode_fact
from lockstream.schemas.parked_facts import ParkedHeaders, original_headers
from lockstream.schemas.partner_events import PartnerPosition, decode_envelope
from lockstream.schemas.registry import decode_entry
from lockstream.schemas.undecodable import Undecodable
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
