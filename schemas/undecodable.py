"""Reads a record's bytes, and raises one error if they are not what they should be.

Anybody may have written a record: bytes that are no UTF-8, JSON nested a million deep, a header
without a value. Each of these raises something else by itself.
"""

from typing import TypeVar

import msgspec

from schemas.primitives import MAX_LOCK_ID, Headers

T = TypeVar("T")

MAX_NUMBER = MAX_LOCK_ID
"""Signed 64-bit: offsets, versions and ids are, in Kafka and in every database."""
_MOST_DIGITS = len(str(MAX_NUMBER))


class Undecodable(msgspec.DecodeError):
    """The bytes are not what they should be; the text says why. A ``ValueError``."""


def decode(decoder: msgspec.json.Decoder[T], value: bytes) -> T:
    """Reads UTF-8 JSON of the decoder's type.

    Raises:
        Undecodable: not UTF-8 JSON, or not of the decoder's type.
    """
    try:
        return decoder.decode(value)
    except RecursionError as error:
        raise Undecodable("JSON is nested too deep") from error
    except ValueError as error:
        # Not only msgspec's own errors: bytes inside a string that are no UTF-8 raise
        # UnicodeDecodeError.
        raise Undecodable(str(error)) from error


def read_number(digits: bytes) -> int:
    """Returns what ``NamedHeaders.number`` takes for a number; -1 for anything else."""
    # int() takes signs, blanks, underscores and other scripts' digits, and refuses long ones.
    if digits.isdigit() and len(digits) <= _MOST_DIGITS and (digits[0] != 48 or digits == b"0"):
        number = int(digits)
        if number <= MAX_NUMBER:
            return number
    return -1


class NamedHeaders:
    """Finds a record's headers by name; of a name that comes more than once, the last one."""

    def __init__(self, headers: Headers) -> None:
        self._values: dict[str, bytes | None] = dict(headers)

    def text(self, name: str) -> str:
        """Returns a header's text.

        Raises:
            Undecodable: the header is missing, has no value, or is not UTF-8.
        """
        try:
            return self._value(name).decode()
        except UnicodeDecodeError as error:
            raise Undecodable(f"the header {name!r} is not UTF-8") from error

    def number(self, name: str) -> int:
        """Returns a header's number.

        Raises:
            Undecodable: the header is missing or is no number: ASCII decimal without a sign, a
                leading zero or anything around it, up to 2^63 - 1.
        """
        number = read_number(self._value(name))
        if number < 0:
            raise Undecodable(f"the header {name!r} is no number from 0 to {MAX_NUMBER}")
        return number

    def value(self, name: str) -> bytes | None:
        """Returns a header's value; None if it is missing, or has none."""
        return self._values.get(name)

    def _value(self, name: str) -> bytes:
        value = self._values.get(name)
        if value is None:
            raise Undecodable(f"the header {name!r} is missing")
        return value


def only(headers: Headers, name: str) -> bytes | None:
    """Returns the value of a header that comes once; None if it is missing, or comes more than
    once."""
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None
