"""Makes the parked record of a fact: the fact as it came, as far as it fits. Pure."""

import msgspec

from eventlog.records import Output, Record
from schemas.parked_facts import ParkedHeaders
from schemas.primitives import Headers
from schemas.topics import MAX_OUTPUT_BYTES

BATCH_BYTES = 200
"""What a batch and a record take besides their texts, at most."""
HEADER_BYTES = 10
"""What a header takes besides its texts, at most."""


def parked_record(topic: str, fact: Record, parked: ParkedHeaders) -> Output:
    """Makes a record with the fact's own key, value and headers, and ours. That may be larger than
    Kafka takes: the fact's batch was compressed, or its header keys are longer when escaped. Then
    the fact's headers are left out first, then its value and key too, and ``detail`` says so: in
    ``lock-facts`` the fact stands whole.
    """
    own, offset = parked.to_kafka(), parked.source_offset
    whole = fact.headers + own
    if _size(fact.key, fact.value, whole) <= MAX_OUTPUT_BYTES:
        return Output(topic, fact.key, fact.value, whole, offset)
    where = f"{parked.source_topic} offset {parked.source_offset}"
    bare = _explained(parked, f"its headers are left out, they stand at {where}").to_kafka()
    if _size(fact.key, fact.value, bare) <= MAX_OUTPUT_BYTES:
        return Output(topic, fact.key, fact.value, bare, offset)
    bare = _explained(parked, f"too large to be kept here, it stands at {where}").to_kafka()
    return Output(topic, None, None, bare, offset)


def _explained(parked: ParkedHeaders, what: str) -> ParkedHeaders:
    return msgspec.structs.replace(parked, detail=f"{parked.detail} ({what})")


def _size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Returns at least what Kafka counts of a batch that holds this record alone, in bytes."""
    texts = sum(len(n.encode()) + len(v or b"") + HEADER_BYTES for n, v in headers)
    return len(key or b"") + len(value or b"") + texts + BATCH_BYTES
