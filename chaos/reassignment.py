"""Moves the copies of a partition to chosen brokers, which aiokafka has no request for."""

from collections.abc import Sequence
from io import BytesIO

from aiokafka.protocol.api import Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from eventlog.kafka import Kafka
from eventlog.kafka_errors import error_of, kafka_errors
from eventlog.kafka_requests import Request
from eventlog.records import TopicPartition
from runtime.waiting import within

TIMEOUT_MS = 10_000
_TEXT = CompactString("utf-8")
_WANTED = Schema(
    ("timeout_ms", Int32),
    (
        "topics",
        CompactArray(
            ("name", _TEXT),
            (
                "partitions",
                CompactArray(
                    ("partition", Int32), ("replicas", CompactArray(Int32)), ("tags", TaggedFields)
                ),
            ),
            ("tags", TaggedFields),
        ),
    ),
    ("tags", TaggedFields),
)


class _Reassigned(Response):  # type: ignore[misc]
    """``error_codes``: of the request, and of each partition."""

    error_codes: list[int]
    API_KEY = 45
    API_VERSION = 0
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "_Reassigned":
        answer = cls()
        Int32.decode(data)  # how long we were throttled
        answer.error_codes = [Int16.decode(data)]
        _TEXT.decode(data)
        partitions = CompactArray(
            ("partition", Int32), ("error", Int16), ("text", _TEXT), ("tags", TaggedFields)
        )
        topics = CompactArray(("name", _TEXT), ("partitions", partitions), ("tags", TaggedFields))
        for _, found, _ in topics.decode(data) or ():
            answer.error_codes += [error for _, error, _, _ in found]
        return answer


class _Reassign(Request[_Reassigned]):
    """As Apache Kafka's ``AlterPartitionReassignmentsRequest.json`` (version 0) says."""

    API_KEY = 45
    API_VERSION = 0
    RESPONSE_TYPE = _Reassigned


async def reassign(kafka: Kafka, tp: TopicPartition, brokers: Sequence[int]) -> None:
    """Lets these brokers have the partition, the first of them as its leader. Returns when that is
    begun; ``System.until_in_sync`` returns when it is done.

    Raises:
        KafkaUnavailable: the controller can't do it now.
        KafkaRefused: it will not.
    """
    no_tags: dict[int, bytes] = {}
    wanted = [(tp.topic, [(tp.partition, list(brokers), no_tags)], no_tags)]
    body = _WANTED.encode([TIMEOUT_MS, wanted, no_tags])
    doing = f"moving {tp.topic}[{tp.partition}]"
    async with kafka.admin() as admin:
        with kafka_errors(doing):
            answer = await within(admin.connections.ask_any(_Reassign(body)), TIMEOUT_MS / 1000)
            for code in answer.error_codes:
                if code:
                    raise error_of(code)
