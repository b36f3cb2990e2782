"""A parked fact is kept as it came, as far as Kafka takes it."""

from lockstream.eventlog.kafka import Record
from lockstream.projector.parking import parked_record
from lockstream.schemas.lock_events import Headers
from lockstream.schemas.parked_facts import ParkedHeaders, original_headers
from lockstream.schemas.topics import MAX_OUTPUT_BYTES, MAX_RECORD_BYTES

PARKED = ParkedHeaders("undecodable", "é" * 500, "lock-facts", 41, "2026-11-23T10:00:00.123Z")


def parked(key: bytes | None, value: bytes | None, headers: Headers) -> tuple[Record, str]:
    output = parked_record("p", Record(0, 41, 0, key, value, headers), PARKED)
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
