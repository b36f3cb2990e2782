"""What a partner's record says of where its event stood: nothing to a partner, and all to us."""

from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.records import Record
from fanout.positions import TEXT_LENGTH, Position, Positions
from runtime.errors import StreamViolation
from schemas.registry import PositionKey
from schemas.undecodable import MAX_NUMBER, Undecodable
from tests.examples_of import POSITION_KEY, POSITIONS, TIME

TOPIC = "partner.acme-crm.lock-events"


def record(position: str | bytes, sequence: int = 5, partition: int = 3) -> Record:
    told = position.encode() if isinstance(position, str) else position
    headers = (("position", told), ("sequence", b"%d" % sequence))
    return Record(partition, 0, 0, None, None, headers)


@given(st.integers(0, MAX_NUMBER), st.integers(1, MAX_NUMBER), st.integers(0, 999))
def test_what_was_sealed_opens_at_its_place(offset: int, sequence: int, partition: int) -> None:
    sealed = POSITIONS.seal(TOPIC, partition, sequence, offset)
    assert len(sealed) == TEXT_LENGTH
    assert sealed == unquote(sealed)
    opened = POSITIONS.read(TOPIC, record(sealed, sequence, partition))
    assert opened == Position(offset, sequence)


def test_a_position_has_one_form_for_ever() -> None:
    """Another would stop every partner of every installation there is."""
    sealed = POSITIONS.seal(TOPIC, 3, 5, 97)
    assert sealed == "xdXv3tl2UZ8d5FDab-XB4ZhGKN5E7Btt"
    assert POSITIONS.read(TOPIC, record(sealed)) == Position(97, 5)


def test_positions_of_events_that_follow_each_other_have_nothing_in_common() -> None:
    sealed = [POSITIONS.seal(TOPIC, 3, n, 1_000 + n) for n in range(1, 200)]
    assert len({text[:8] for text in sealed}) == len(sealed)
    assert len({text[-8:] for text in sealed}) == len(sealed)


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"topic": "partner.acme-erp.lock-events"},
        {"partition": 4},
        {"sequence": 6},
        {"positions": Positions(PositionKey(key="5f" * 32, created_at=TIME))},
    ],
    ids=lambda elsewhere: next(iter(elsewhere)),
)
def test_a_position_opens_nowhere_else(elsewhere: dict[str, Any]) -> None:
    opening = elsewhere.get("positions", POSITIONS)
    moved = record(
        POSITIONS.seal(TOPIC, 3, 5, 97), elsewhere.get("sequence", 5), elsewhere.get("partition", 3)
    )
    with pytest.raises(Undecodable, match="its position is none of this installation's"):
        opening.read(elsewhere.get("topic", TOPIC), moved)


SEALED = POSITIONS.seal(TOPIC, 3, 5, 97)


@given(st.text(max_size=40) | st.text("AZaz09-_", min_size=TEXT_LENGTH, max_size=TEXT_LENGTH))
def test_what_nobody_sealed_is_undecodable(text: str) -> None:
    with pytest.raises(Undecodable, match="none of this installation's"):
        POSITIONS.read(TOPIC, record(text.encode("utf-8", "replace")))


@given(st.integers(0, TEXT_LENGTH - 1), st.sampled_from("AZaz09-_"))
def test_a_position_with_one_letter_changed_is_undecodable(at: int, letter: str) -> None:
    changed = SEALED[:at] + letter + SEALED[at + 1 :]
    if changed != SEALED:
        with pytest.raises(Undecodable, match="none of this installation's"):
            POSITIONS.read(TOPIC, record(changed))


def test_a_position_that_is_no_text_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="the header 'position' is not UTF-8"):
        POSITIONS.read(TOPIC, record(b"\xff"))


def test_a_record_of_before_is_read_with_and_without_a_key() -> None:
    before = msgspec.structs.replace(
        record(""), headers=(("source-offset", b"97"), ("sequence", b"5"))
    )
    for positions in (POSITIONS, Positions(None)):
        assert positions.read(TOPIC, before) == Position(97, 5)


def test_without_a_key_nothing_is_sealed_or_opened() -> None:
    with pytest.raises(StreamViolation, match="no position key, so nothing can be written to part"):
        Positions(None).seal(TOPIC, 3, 5, 97)
    with pytest.raises(Undecodable, match="restore the entry `position-key`"):
        Positions(None).read(TOPIC, record(SEALED))


def test_the_key_is_32_bytes_in_hex() -> None:
    assert len(bytes.fromhex(POSITION_KEY.key)) == 32
