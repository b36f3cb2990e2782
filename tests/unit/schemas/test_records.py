"""The published records, byte by byte: what is written once must stay readable for ever."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest

from schemas.lock_events import (
    EventHeaders,
    OrganizationSetEvent,
    decode_event,
    encode_event,
    event_type,
)
from schemas.lock_facts import FactHeaders, decode_fact, encode_fact, fact_type
from schemas.parked_facts import ParkedHeaders
from schemas.partner_events import (
    LockCreatedData,
    OrganizationSetData,
    PartnerPosition,
    encode_envelope,
    envelope,
    partner_data,
    partner_headers,
)
from schemas.primitives import (
    default_lock_uuid,
    epoch_ms,
    event_id_of_idempotency_key,
    event_id_of_lock_creation,
    printable,
    read_time,
    write_time,
)
from schemas.registry import (
    ApiKey,
    ApiKeyUse,
    EarlierTypes,
    Entry,
    Organization,
    ParkedDiscard,
    ParkedRepair,
    Partner,
    PositionKey,
    Replay,
    decode_entry,
    encode_entry,
    entry_key,
)
from schemas.trace_context import TraceContext
from schemas.undecodable import MAX_NUMBER, Undecodable
from tests.examples_of import (
    LOCK_UUID,
    TIME,
    created_event,
    lock_created,
    organization_set,
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
        (b"example_string", b""),
        (b"example_string", b"x\\n"),
        (b"example_string", b"\\u007f"),
        (b"example_string", b"\\u0085"),
        (b'"acme"', b'"acme\\n"'),
        (b'"acme"', b'"%b"' % (b"a" * 65)),
        (b'"alice"', b'""'),
        (b'"alice"', b'"%b"' % (b"a" * 256)),
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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"lockId":123', b'"lockId":9223372036854775807'),
        (b"example_string", b"x" * 128),
        (b"example_string", "schlüssel-🗝".encode()),
        (b'"acme"', b'"%b"' % (b"a" * 64)),
        (b'"acme"', b'"A.b_c-9"'),
        (b'"alice"', b'"%b"' % (b"a" * 255)),
        (b"00.123Z", b"00.123456789+14:00"),
    ],
)
def test_a_fact_is_read_up_to_its_bounds(old: bytes, new: bytes) -> None:
    taken = FACT.replace(old, new, 1)
    assert encode_fact(decode_fact(taken)) == taken


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
    headers = partner_headers(record, position="sealed", sequence=9)
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": EVENT_ID.encode(),
        "ce_source": b"spk.api",
        "ce_type": b"TempKeyUsed",
        "ce_time": TIME.encode(),
        "ce_subject": str(LOCK_UUID).encode(),
        "content-type": b"application/json",
        "position": b"sealed",
        "sequence": b"9",
    }
    assert PartnerPosition.from_kafka(headers) == PartnerPosition(9, "sealed")


def test_a_partner_record_of_before_still_says_where_its_event_stood() -> None:
    before = (("source-offset", b"41"), ("sequence", b"9"))
    assert PartnerPosition.from_kafka(before) == PartnerPosition(9, source_offset=41)
    both = (*before, ("position", b"sealed"))
    assert PartnerPosition.from_kafka(both) == PartnerPosition(9, "sealed")


def test_partners_are_told_when_it_happened_and_not_when_it_was_recorded() -> None:
    late = msgspec.structs.replace(used_event(), recorded_at="2026-11-24T00:00:00.000Z")
    record = envelope(late, "acme-crm")
    assert (record.time, record.detail.timestamp) == (TIME, 1795428000123)
    assert dict(partner_headers(record, position="", sequence=1))["ce_time"] == TIME.encode()


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


def test_ids_made_of_locks_are_the_same_for_ever() -> None:
    """An import that is run again must make no new events and no new locks."""
    assert str(event_id_of_lock_creation(7)) == "6eb9b1b1-6294-52b3-808a-214665ac2abf"
    assert str(default_lock_uuid(7)) == "c7488108-df42-5d60-a696-26dfca8f87ec"


def moved_event() -> OrganizationSetEvent:
    fact = organization_set(7, "other")
    return OrganizationSetEvent(
        event_id=fact.event_id,
        lock_id=7,
        occurred_at=TIME,
        actor=fact.actor,
        aggregate_id=LOCK_UUID,
        org_id="other",
        version=2,
        recorded_at="2026-11-23T10:00:09.000Z",
        data=fact.data,
    )


def test_partners_are_told_of_creations_and_moves() -> None:
    assert partner_data(created_event(org_id="acme")) == LockCreatedData(
        lock_id=7, lock_uuid=LOCK_UUID, org_id="acme", timestamp=TIME
    )
    assert partner_data(moved_event()) == OrganizationSetData(
        lock_id=7, lock_uuid=LOCK_UUID, org_id="other", timestamp=TIME
    )
    assert (event_type(moved_event()), fact_type(organization_set())) == ("OrganizationSet",) * 2


TRACE = TraceContext(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"a=1")
TRACED = (("tracestate", b"a=1"), ("traceparent", TRACE.traceparent))


def test_every_record_carries_its_trace() -> None:
    assert FactHeaders(TRACE.traceparent, TRACE.tracestate).to_kafka() == TRACED
    event = EventHeaders(
        EVENT_ID, "TempKeyUsed", "acme", 7, 41, TRACE.traceparent, TRACE.tracestate
    )
    assert event.to_kafka()[-2:] == TRACED
    assert EventHeaders.from_kafka(event.to_kafka()) == event
    sent = envelope(used_event(), "p")
    assert partner_headers(sent, position="", sequence=2, trace=TRACE)[-2:] == TRACED


def test_the_headers_of_an_event_are_these() -> None:
    assert EventHeaders(EVENT_ID, "TempKeyUsed", "acme", 7, 41).to_kafka() == (
        ("event-id", EVENT_ID.encode()),
        ("event-type", b"TempKeyUsed"),
        ("org-id", b"acme"),
        ("version", b"7"),
        ("source-offset", b"41"),
    )


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where this process is."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
def test_times_are_written_in_utc_with_milliseconds_and_read_with_their_zone() -> None:
    there = datetime(2026, 11, 23, 11, 0, 0, 123456, timezone(timedelta(hours=1)))
    assert write_time(there) == TIME
    assert read_time(TIME) == datetime(2026, 11, 23, 10, 0, 0, 123000, UTC)
    assert epoch_ms(there) == 1795428000123
    with pytest.raises(ValueError, match=r"^'2026-11-23T10:00:00' has no time zone\Z"):
        read_time("2026-11-23T10:00:00")


def test_text_is_made_printable_and_stays_as_it_is_where_it_was() -> None:
    assert printable("plain ü 🔑") == "plain ü 🔑"
    assert printable("a\x00b\n") == "a\\u0000b\\u000a"


KEY = ApiKey(key_id="k", org_id="acme", sha256="00", created_at=TIME)
USE = ApiKeyUse(key_id="k", last_used_at=TIME)
CRM = Partner(id="crm", org_id="acme", types=("*",), start_offsets=(3, 5), created_at=TIME)
CHANGED = msgspec.structs.replace(CRM, earlier=(EarlierTypes(("TempKeyUsed",), (4, 9)),))
REPLAY = Replay(
    partner_id="crm",
    number=12,
    org_id="acme",
    types=("*",),
    earlier=CHANGED.earlier,
    start_offsets=(3, 5),
    end_offsets=(3, 9),
    created_at=TIME,
)
DISCARD = ParkedDiscard(id="1", places=("3:17",), why="a test", by="alice", created_at=TIME)
REPAIR = ParkedRepair(place="3:17", event_id=UUID(EVENT_ID), by="alice", created_at=TIME)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        (Organization(id="acme", created_at=TIME), b"org/acme"),
        (KEY, b"key/k"),
        (USE, b"key-use/k"),
        (CRM, b"partner/crm"),
        (DISCARD, b"parked-discard/1"),
        (REPAIR, b"parked-repair/3:17"),
        (CHANGED, b"partner/crm"),
        (REPLAY, b"replay/crm/12"),
        (PositionKey(key="5e" * 32, created_at=TIME), b"position-key"),
    ],
)
def test_each_kind_of_entry_stands_under_a_key_of_its_own(entry: Entry, key: bytes) -> None:
    assert entry_key(entry) == key
    assert decode_entry(encode_entry(entry)) == entry


def test_a_partner_begins_at_0_where_its_registration_names_no_offset() -> None:
    assert CRM.begins(4) == {0: 3, 1: 5, 2: 0, 3: 0}
    assert CRM.begins(1) == {0: 3}


LONG_TIME = "2026-11-23T10:00:00." + "0" * 44 + "Z"


@pytest.mark.parametrize(
    ("entry", "wrong", "told"),
    [
        *(
            (e, {"created_at": "x"}, "one of its times is none")
            for e in (KEY, CRM, DISCARD, REPAIR, REPLAY)
        ),
        (Organization(id="acme", created_at="x"), {}, "one of its times is none"),
        (KEY, {"not_after": "2026-13-01T00:00:00Z"}, "one of its times is none"),
        (KEY, {"revoked_at": "0001-01-01T00:00:00+14:00"}, "one of its times is none"),
        (KEY, {"created_at": LONG_TIME}, "one of its times is none"),
        (USE, {"last_used_at": "2026-13-01T00:00:00Z"}, "one of its times is none"),
        (KEY, {"sha256": "é"}, "its sha256 is no hex digest"),
        (KEY, {"key_id": "k" * 65}, "its key id is longer than 64 characters"),
        (USE, {"key_id": "k" * 65}, "its key id is longer than 64 characters"),
        (CRM, {"start_offsets": (0, -1)}, "one of its start offsets is none"),
        (CRM, {"start_offsets": (MAX_NUMBER + 1, 0)}, "one of its start offsets is none"),
        (
            CHANGED,
            {"start_offsets": (3,)},
            "a change of its types names other partitions than its start",
        ),
        (REPLAY, {"ended_at": "x"}, "one of its times is none"),
        (REPLAY, {"end_offsets": (3,)}, "its offsets are not of the same partitions"),
        (
            REPLAY,
            {"start_offsets": (3,), "end_offsets": (9,)},
            "its offsets are not of the same partitions",
        ),
        (REPLAY, {"start_offsets": (3, -1)}, "one of its offsets is none"),
        (REPLAY, {"end_offsets": (MAX_NUMBER + 1, 9)}, "one of its offsets is none"),
    ],
)
def test_an_entry_that_would_stop_its_readers_is_undecodable(
    entry: Entry, wrong: dict[str, object], told: str
) -> None:
    with pytest.raises(Undecodable) as undecodable:
        decode_entry(encode_entry(msgspec.structs.replace(entry, **wrong)))
    assert str(undecodable.value) == told


@pytest.mark.parametrize(
    ("entry", "extreme"),
    [
        (KEY, {"key_id": "k" * 64, "not_after": TIME, "revoked_at": TIME}),
        (KEY, {"created_at": LONG_TIME.replace("0Z", "Z")}),
        (USE, {"key_id": "k" * 64}),
        (CRM, {"start_offsets": (0, MAX_NUMBER)}),
        (REPLAY, {"end_offsets": (3, MAX_NUMBER), "ended_at": TIME, "counts": (0, 4)}),
        (REPLAY, {"start_offsets": (0, 0), "earlier": ()}),
    ],
)
def test_an_entry_is_read_up_to_its_bounds(entry: Entry, extreme: dict[str, object]) -> None:
    written = msgspec.structs.replace(entry, **extreme)
    assert decode_entry(encode_entry(written)) == written
