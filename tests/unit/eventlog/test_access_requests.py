"""Requests about users and rules, byte by byte as the protocol has them."""

import hashlib
import struct
from io import BytesIO

import pytest

from eventlog.access_requests import ITERATIONS, AlterQuota, AlterUsers, AskUsers, Users


def test_a_password_is_sent_as_what_proves_that_somebody_knows_it() -> None:
    request = AlterUsers({"acme/1": "secret"}, b"salt", ["acme/0"]).prepare({51: (0, 0)})
    salted = hashlib.pbkdf2_hmac("sha512", b"secret", b"salt", ITERATIONS)
    assert request.encode() == (
        b"\x02\x07acme/0\x02\x00"  # one to be taken away: name, SCRAM-SHA-512
        b"\x02\x07acme/1\x02"  # one to be made
        + struct.pack(">i", ITERATIONS)
        + b"\x05salt\x41"
        + salted
        + b"\x00\x00"
    )
    assert b"secret" not in request.encode()


def test_users_are_asked_for_by_name_and_those_without_a_password_are_left_out() -> None:
    assert AskUsers(["a", "b"]).encode() == b"\x03\x02a\x00\x02b\x00\x00"
    answer = Users.decode(
        BytesIO(
            b"\x00\x00\x00\x00\x00\x00\x00\x03"  # throttled, no error, no text, two users
            b"\x02a\x00\x00\x00\x02\x02\x00\x00\x20\x00\x00\x00"  # one mechanism
            b"\x02b\x00\x5b\x03no\x01\x00"  # RESOURCE_NOT_FOUND, none
        )
    )
    assert (answer.error_code, answer.users) == (0, {"a"})


@pytest.mark.parametrize(
    ("value", "change"), [(1024.0, struct.pack(">d?", 1024.0, False)), (None, b"\0" * 8 + b"\1")]
)
def test_a_quota_is_set_or_taken_away(value: float | None, change: bytes) -> None:
    request = AlterQuota("consumer_byte_rate", {"acme/1": value}).prepare({49: (0, 1)})
    assert request.encode() == (
        b"\x00\x00\x00\x01"  # one entry
        b"\x00\x00\x00\x01\x00\x04user\x00\x06acme/1"  # of one entity: kind, name
        b"\x00\x00\x00\x01\x00\x12consumer_byte_rate"  # one change of it
        + change  # the value, and whether it is removed
        + b"\x00"  # not only to be tried
    )
