"""Seals where an event stood into a partner's record, and opens it again. Pure.

Offsets of ``lock-events`` count everybody's events, so a partner must not read them; but the output
alone says where a stage goes on. So they are encrypted (AES-SIV, RFC 5297) under a key that stands
in the registry, and bound to topic, partition and sequence: a position that was made up, or copied
from elsewhere, does not open.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from eventlog.records import Record
from runtime.errors import StreamViolation
from schemas.partner_events import PartnerPosition
from schemas.registry import PositionKey
from schemas.undecodable import Undecodable

OFFSET_BYTES = 8
SEALED_BYTES = OFFSET_BYTES + 16
TEXT_LENGTH = SEALED_BYTES * 4 // 3


class Position(msgspec.Struct, frozen=True, gc=False):
    """Says which event a partner's record was made from, and which record of its partition it
    is."""

    source_offset: int
    sequence: int


class Positions:
    """Seals and opens under the installation's key. ``key``: None if the registry has none."""

    def __init__(self, key: PositionKey | None) -> None:
        self._cipher = AESSIV(bytes.fromhex(key.key)) if key is not None else None

    def seal(self, topic: str, partition: int, sequence: int, source_offset: int) -> str:
        """Returns the position of a record: the ``sequence``-th of a partner's partition.

        Raises:
            StreamViolation: the registry has no key.
        """
        if self._cipher is None:
            raise StreamViolation(
                f"the registry has no position key, so nothing can be written to {topic}: "
                "restart the fan-out, which makes one"
            )
        offset = source_offset.to_bytes(OFFSET_BYTES, "big")
        sealed = self._cipher.encrypt(offset, _place(topic, partition, sequence))
        return urlsafe_b64encode(sealed).decode()

    def read(self, topic: str, record: Record) -> Position:
        """Reads the position of a record of a partner's topic, also of one written before positions
        were sealed.

        Raises:
            Undecodable: it has none, or one that was not sealed for this place by this
                installation's key.
        """
        told = PartnerPosition.from_kafka(record.headers)
        offset = told.source_offset
        if told.position is not None:
            place = _place(topic, record.partition, told.sequence)
            offset = self._open(told.position, place)
        assert offset is not None
        return Position(offset, told.sequence)

    def _open(self, text: str, place: list[bytes]) -> int:
        if self._cipher is None:
            raise Undecodable(
                "its position is sealed and the registry has no position key: restore the entry "
                "`position-key`"
            )
        if len(text) != TEXT_LENGTH:
            raise Undecodable("its position is none of this installation's")
        try:
            return int.from_bytes(self._cipher.decrypt(urlsafe_b64decode(text), place), "big")
        except (InvalidTag, ValueError) as error:
            raise Undecodable("its position is none of this installation's") from error


def _place(topic: str, partition: int, sequence: int) -> list[bytes]:
    """Returns what a position is bound to."""
    return [topic.encode(), b"%d" % partition, b"%d" % sequence]
