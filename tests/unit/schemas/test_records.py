"""The published records, byte by byte: what is written once must stay readable for ever."""

import json
from uuid import UUID

import msgspec
import pytest

from lockstream.schemas.lock_events import EventHeaders, decode_event, encode_event
from lockstream.schemas.lock_facts import decode_fact, encode_fact
from lockstream.schemas.parked_facts import ParkedHeaders
from lockstream.schemas.partner_events import (
    PartnerPosition,
    encode_envelope,
    envelope,
    partner_headers,
)
from lockstream.schemas.primitives import event_id_of_idempotency_key
from lockstream.schemas.registry import ApiKey, Organization, Partner, decode_entry, encode_entry
from tests.examples_of import (
    LOCK_UUID,
    TIME,
    created_event,
    lock_created,
    temp_key_used,
    used_event,
)

EVENT_ID = "01a20943-063b-7611-93e4-06cdc29e2571"
FACT = (
    b'{"type":"TempKeyUsed","eventId":"01a20943-063b-7611-93e4-06cdc29e2571","lockId":123,'
    b'"occurredAt":"2026-11-23T10:00:00.123Z",'
    b'"actor":{"kind":"user","subject":"alice","orgId":"acme"},'
    b'"data":{"tempKeyUuid":"example_string","userId":"example_string"}}'
)


def test_the_documented_fact_is_read() -> None:
    fact = decode_fact(FACT)
    assert str(fact.event_id) == EVENT_ID
    assert fact.lock_id == 123
    assert encode_fact(fact) == FACT


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"lockId":123', b'"lockId":0'),
        (b'"lockId":123', b'"lockId":"123"'),
        (b'"lockId":123', b'"lockId":9223372036854775808'),
        (b"TempKeyUsed", b"TempKeyLost"),
        (b'"userId"', b'"userID"'),
        (b"example_string", b"a\\u0000b"),
        (b"example_string", b"x" * 129),
        (b"2026-11-23T10", b"2026-13-23T10"),
        (b"2026-11-23T10:00:00.123Z", b"yesterday"),
        (b"00.123Z", b"00.123"),
        (EVENT_ID.encode(), b"not-a-uuid"),
        (b'"acme"', b'"ac me"'),
        (b'"kind":"user"', b'"kind":"god"'),
    ],
)
def test_a_fact_that_is_not_of_its_shape_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_fact(FACT.replace(old, new, 1))


@pytest.mark.parametrize("fact", [temp_key_used(), lock_created()], ids=["used", "created"])
def test_facts_survive_a_round_trip(fact: object) -> None:
    assert decode_fact(encode_fact(fact)) == fact  # type: ignore[arg-type]


@pytest.mark.parametrize("event", [used_event(), created_event()], ids=["used", "created"])
def test_events_survive_a_round_trip(event: object) -> None:
    assert decode_event(encode_event(event)) == event  # type: ignore[arg-type]


def test_a_reader_of_events_bears_a_later_versions_fields() -> None:
    event = used_event()
    document = json.loads(encode_event(event)) | {"weather": "rain"}
    assert decode_event(json.dumps(document).encode()) == event


def test_event_headers_survive_a_round_trip_and_missing_ones_are_named() -> None:
    headers = EventHeaders(EVENT_ID, "TempKeyUsed", "acme", 7, 41, b"00-trace")
    assert EventHeaders.from_kafka(headers.to_kafka()) == headers
    without = tuple(h for h in headers.to_kafka() if h[0] != "version")
    with pytest.raises(ValueError, match="version"):
        EventHeaders.from_kafka(without)


def test_parked_headers_win_over_what_the_original_record_brought() -> None:
    headers = ParkedHeaders("unknown-lock", "there is no lock 7", "lock-facts", 12, TIME, lock_id=7)
    brought = (("source-offset", b"999"), ("event-id", b"\xff"), ("parked-reason", b"lies"))
    assert ParkedHeaders.from_kafka(brought + headers.to_kafka()) == headers


def test_the_partner_record_is_the_envelope_that_partners_know() -> None:
    event = used_event(lock_id=123, version=7, used_count=3, event_id=UUID(EVENT_ID))
    record = envelope(event, "acme-crm")
    assert json.loads(encode_envelope(record)) == {
        "id": EVENT_ID,
        "source": "spk.api",
        "detail-type": "TempKeyUsed",
        "time": TIME,
        "detail": {
            "partnerId": "acme-crm",
            "aggregateType": "lock",
            "aggregateId": str(LOCK_UUID),
            "version": 7,
            "timestamp": 1795428000123,
            "data": {
                "type": "TempKeyUsed",
                "lockId": 123,
                "lockUuid": str(LOCK_UUID),
                "tempKeyUuid": "key-1",
                "userId": "user-1",
                "usedCount": 3,
                "timestamp": TIME,
            },
        },
    }
    headers = partner_headers(record, source_offset=41, sequence=9)
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": EVENT_ID.encode(),
        "ce_source": b"spk.api",
        "ce_type": b"TempKeyUsed",
        "ce_time": TIME.encode(),
        "ce_subject": str(LOCK_UUID).encode(),
        "content-type": b"application/json",
        "source-offset": b"41",
        "sequence": b"9",
    }
    assert PartnerPosition.from_kafka(headers) == PartnerPosition(41, 9)


def test_no_partner_sees_who_issued_the_command() -> None:
    assert b"open-flow" not in encode_envelope(envelope(used_event(), "acme-crm"))


@pytest.mark.parametrize(
    "entry",
    [
        Organization(id="acme", created_at=TIME),
        ApiKey(key_id="k", org_id="acme", sha256="00", created_at=TIME, not_after=TIME),
        Partner(id="p", org_id="acme", types=("*",), start_offsets=(0, 5), created_at=TIME),
    ],
    ids=["organization", "key", "partner"],
)
def test_registry_entries_survive_a_round_trip(entry: object) -> None:
    assert decode_entry(encode_entry(entry)) == entry  # type: ignore[arg-type]


def test_an_idempotency_key_gives_one_event_id_for_ever() -> None:
    first = event_id_of_idempotency_key("acme", "key-1")
    assert first == event_id_of_idempotency_key("acme", "key-1")
    assert str(first) == "06a08aaf-ad25-512e-ac58-15a5225b061b"
    assert first != event_id_of_idempotency_key("acm", "e\nkey-1")
    assert first != event_id_of_idempotency_key("other", "key-1")
