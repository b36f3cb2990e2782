"""A parked fact is kept as it came, as far as Kafka takes it."""

import msgspec

from eventlog.records import Record
from projector.parking import BATCH_BYTES, HEADER_BYTES, parked_record
from schemas.parked_facts import ParkedHeaders, original_headers
from schemas.primitives import Headers
from schemas.topics import MAX_OUTPUT_BYTES, MAX_RECORD_BYTES

PARKED = ParkedHeaders("undecodable", "é" * 500, "lock-facts", 41, "2026-11-23T10:00:00.123Z")


def parked(key: bytes | None, value: bytes | None, headers: Headers) -> tuple[Record, str]:
    output = parked_record("p", Record(0, 41, 0, key, value, headers), PARKED)
    assert output.topic == "p"
    told = ParkedHeaders.from_kafka(output.headers)
    size = len(output.key or b"") + len(output.value or b"")
    size += sum(len(n.encode()) + len(v) for n, v in output.headers)
    assert size < MAX_OUTPUT_BYTES
    record = Record(0, 0, 0, output.key, output.value, original_headers(output.headers))
    return record, told.detail


def test_the_largest_fact_that_kafka_takes_is_kept_whole() -> None:
    value = b"x" * MAX_RECORD_BYTES
    record, detail = parked(b"7", value, (("h", b"v"),))
    assert (record.key, record.value, record.headers) == (b"7", value, (("h", b"v"),))
    assert detail == PARKED.detail


def test_headers_that_do_not_fit_are_left_out_and_that_is_said() -> None:
    record, detail = parked(b"7", b"value", (("\\xff" * MAX_RECORD_BYTES, b""),))
    assert (record.key, record.value, record.headers) == (b"7", b"value", ())
    assert "headers are left out" in detail
    assert "lock-facts offset 41" in detail


def test_what_was_compressed_and_fits_no_more_is_pointed_to() -> None:
    for key, value in ((b"7", b"x" * 10_000_000), (b"7" * 10_000_000, b"x")):
        record, detail = parked(key, value, ())
        assert (record.key, record.value, record.headers) == (None, None, ())
        assert "lock-facts offset 41" in detail


def test_headers_and_then_the_fact_are_left_out_by_the_byte() -> None:
    def spent(headers: Headers) -> int:
        return BATCH_BYTES + sum(len(n.encode()) + len(v) + HEADER_BYTES for n, v in headers)

    brought: Headers = (("ä" * 100, b"v"),)
    free = MAX_OUTPUT_BYTES - 2 - spent(brought + PARKED.to_kafka())
    record, detail = parked(b"ke", b"x" * free, brought)
    assert (record.headers, detail) == (brought, PARKED.detail)
    record, detail = parked(b"ke", b"x" * (free + 1), brought)
    assert detail == (
        f"{PARKED.detail} (its headers are left out, they stand at lock-facts offset 41)"
    )
    assert (record.key, record.value, record.headers) == (b"ke", b"x" * (free + 1), ())
    bare = msgspec.structs.replace(PARKED, detail=detail).to_kafka()
    free = MAX_OUTPUT_BYTES - 2 - spent(bare)
    record, detail = parked(b"ke", b"x" * free, brought)
    assert (len(record.value or b""), "left out" in detail) == (free, True)
    record, detail = parked(b"ke", b"x" * (free + 1), brought)
    assert (record.key, record.value, record.headers) == (None, None, ())
    assert detail == (
        f"{PARKED.detail} (too large to be kept here, it stands at lock-facts offset 41)"
    )


def test_a_fact_without_key_and_value_is_parked_as_it_is() -> None:
    output = parked_record("p", Record(0, 41, 0, None, None, (("h", b"v"),)), PARKED)
    assert (output.topic, output.key, output.value) == ("p", None, None)
    assert output.headers == (("h", b"v"), *PARKED.to_kafka())
    # Kafka allows a header without a value.
    void: Headers = (("h", None),)  # type: ignore[assignment]
    assert parked_record("p", Record(0, 41, 0, b"7", b"", void), PARKED).headers[0] == void[0]
