"""The end marker of a replay: a CloudEvent that says how many events stand before it."""

import json

import pytest

from schemas.partner_events import PartnerPosition
from schemas.replay_events import (
    ReplayEndedHeaders,
    decode_replay_ended,
    encode_replay_ended,
    is_replay_end,
    replay_ended,
)
from schemas.undecodable import Undecodable
from tests.examples_of import TIME

ENDED = replay_ended("acme-crm", 3, 7, 41, TIME)


def test_an_end_marker_says_what_it_ends_and_how_many_there_were() -> None:
    assert json.loads(encode_replay_ended(ENDED)) == {
        "id": "bf84c05e-2743-510a-bc2e-edb353c5e13c",
        "source": "lockstream",
        "detail-type": "lockstream.ReplayEnded",
        "time": TIME,
        "detail": {"partnerId": "acme-crm", "replay": 3, "partition": 7, "count": 41},
    }
    assert decode_replay_ended(encode_replay_ended(ENDED)) == ENDED


def test_its_headers_make_it_a_cloud_event_with_a_place_in_the_sequence() -> None:
    headers = ReplayEndedHeaders.of(ENDED, position="sealed", sequence=42).to_kafka()
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": str(ENDED.id).encode(),
        "ce_source": b"lockstream",
        "ce_type": b"lockstream.ReplayEnded",
        "ce_time": TIME.encode(),
        "content-type": b"application/json",
        "position": b"sealed",
        "sequence": b"42",
    }
    assert is_replay_end(headers)
    assert PartnerPosition.from_kafka(headers) == PartnerPosition(42, "sealed")
    assert not is_replay_end((("ce_type", b"TempKeyUsed"),))
    assert not is_replay_end(())


def test_each_partition_of_each_replay_has_an_end_of_its_own_with_the_same_id_for_ever() -> None:
    ids = {
        replay_ended(partner, number, partition, 1, TIME).id
        for partner in ("a", "b")
        for number in (1, 2)
        for partition in (0, 1)
    }
    assert len(ids) == 8
    assert replay_ended("acme-crm", 3, 7, 5, "2027-01-01T00:00:00.000Z").id == ENDED.id


@pytest.mark.parametrize("value", [b"", b"{}", encode_replay_ended(ENDED).replace(b"41", b'"41"')])
def test_what_is_no_end_marker_is_undecodable(value: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_replay_ended(value)
