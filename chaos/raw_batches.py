"""Writes batches of records as another client may: with header keys that are any bytes."""

import asyncio
import struct
from collections.abc import Sequence

import msgspec
from aiokafka.errors import LeaderNotAvailableError, NoError, for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c_py, encode_varint

from eventlog.clients.client import REQUEST_TIMEOUT_S
from eventlog.clients.connections import Connections
from eventlog.kafka import Kafka
from eventlog.records import TopicPartition

LOOK_AGAIN_S = 0.05


class RawRecord(msgspec.Struct, frozen=True):
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()


def _varint(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


def _text(value: bytes | None) -> bytes:
    return _varint(-1) if value is None else _varint(len(value)) + value


def raw_batch(records: Sequence[RawRecord]) -> bytes:
    """Returns a record batch, version 2, of no producer in particular."""
    body = bytearray()
    for delta, record in enumerate(records):
        inner = b"\x00" + _varint(0) + _varint(delta) + _text(record.key) + _text(record.value)
        inner += _varint(len(record.headers))
        inner += b"".join(_text(name) + _text(value) for name, value in record.headers)
        body += _varint(len(inner)) + inner
    time_ms = 1_795_441_973_073
    after_crc = (
        struct.pack(">hiqqqhii", 0, len(records) - 1, time_ms, time_ms, -1, -1, -1, len(records))
        + body
    )
    crc = struct.pack(">I", calc_crc32c_py(after_crc))
    rest = struct.pack(">ib", -1, 2) + crc + after_crc
    return struct.pack(">qi", 0, len(rest)) + rest


async def write_batch(
    kafka: Kafka, topic: str, partition: int, records: Sequence[RawRecord]
) -> int:
    """Writes a batch; returns the offset of its first record.

    Raises:
        KafkaError: the broker refuses the batch, or has no leader for it in time.
    """
    async with kafka.idempotent_producer() as producer:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            while True:
                code, offset = await _send(
                    producer.connections, topic, partition, raw_batch(records)
                )
                error = for_code(code)
                if not error.invalid_metadata:
                    break
                # A topic that was made just now has no leader yet, or another one.
                await producer.connections.refresh()
                await asyncio.sleep(LOOK_AGAIN_S)
    if error is not NoError:
        raise error
    return offset


async def _send(
    connections: Connections, topic: str, partition: int, batch: bytes
) -> tuple[int, int]:
    leader = await connections.leader_of(TopicPartition(topic, partition))
    if leader is None:
        return LeaderNotAvailableError.errno, -1
    request = ProduceRequest(
        transactional_id=None,
        required_acks=-1,
        timeout=10_000,
        topics=[(topic, [(partition, batch)])],
    )
    answer = await connections.ask(leader, request)
    ((_, ((_, code, offset, *_),)),) = answer.topics
    return int(code), int(offset)
