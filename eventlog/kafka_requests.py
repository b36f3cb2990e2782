"""Holds requests of Kafka's protocol that aiokafka does not have.

They are those of a transaction by version 2 of the transaction protocol (KIP-890), the question
whether the cluster speaks it, and a change of one setting. Bodies are written and read by hand, as
Apache Kafka's ``ProduceRequest.json`` (version 12), ``EndTxnRequest.json`` (5),
``ApiVersionsRequest.json`` (3) and ``IncrementalAlterConfigsRequest.json`` (0) say; aiokafka's
``client.send`` takes them like its own.
"""

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Generic, Self, TypeVar

from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
    UnsignedVarInt32,
)

from eventlog.records import TopicPartition

ACKS_ALL = -1
NO_TAGS = b"\x00"
_FINALIZED_FEATURES = 2
"""The tag of ``ApiVersionsResponse`` that says what the cluster has agreed on."""

_produce_head = struct.Struct(">hi")
_int32 = struct.Struct(">i")
_produced = struct.Struct(">ihqqq")
"""Partition, error code and offset; when it was written, and where its log begins."""
_NOTE = CompactString("utf-8")
_producer = struct.Struct(">qh?")
_ended = struct.Struct(">ihqh")

_APIS = CompactArray(("key", Int16), ("least", Int16), ("most", Int16), ("tags", TaggedFields))
_SET = 0
_TEXT = String("utf-8")
_CHANGES = Array(
    ("kind", Int8),
    ("name", _TEXT),
    ("settings", Array(("name", _TEXT), ("operation", Int8), ("value", _TEXT))),
)
_FEATURES = CompactArray(
    ("name", CompactString("utf-8")), ("most", Int16), ("least", Int16), ("tags", TaggedFields)
)


def compact_length(count: int) -> bytes:
    """Returns the length of a compact text or array (KIP-482), as it stands before it."""
    length: bytes = UnsignedVarInt32.encode(count + 1)
    return length


def compact(value: bytes) -> bytes:
    """Returns a compact text, or bytes."""
    return compact_length(len(value)) + value


Answer = TypeVar("Answer")


class Request(RequestStruct, Generic[Answer]):  # type: ignore[misc]
    """Encodes a request of one version, with a body that is bytes already."""

    FLEXIBLE_VERSION = True
    API_KEY = -1
    API_VERSION = -1
    RESPONSE_TYPE = Response
    SCHEMA = Schema()

    def __init__(self, body: bytes) -> None:
        self._body = body

    @classmethod
    def is_spoken(cls, versions: Mapping[int, tuple[int, int]]) -> bool:
        """Returns whether a broker with these (least, most) versions of each API accepts it."""
        least, most = versions.get(cls.API_KEY, (0, -1))
        return bool(least <= cls.API_VERSION <= most)

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Self:
        """Returns the request itself.

        Raises:
            IncompatibleBrokerVersion: the broker does not speak it.
        """
        if not self.is_spoken(versions):
            raise IncompatibleBrokerVersion(f"{type(self).__name__} version {self.API_VERSION}")
        return self

    def encode(self) -> bytes:
        return self._body


# -- Produce -------------------------------------------------------------------------------------


class Produced(Response):  # type: ignore[misc]
    """Answers ``Produce``. ``written``: error code and offset of the first record, by topic and
    partition: the answer need not have the order of the request."""

    written: dict[TopicPartition, tuple[int, int]]
    API_KEY = 0
    API_VERSION = 12
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "Produced":
        answer = cls()
        answer.written = {}
        for _ in range(UnsignedVarInt32.decode(data) - 1):
            topic = data.read(UnsignedVarInt32.decode(data) - 1).decode()
            for _ in range(UnsignedVarInt32.decode(data) - 1):
                partition, error_code, offset, _, _ = _produced.unpack(data.read(_produced.size))
                answer.written[TopicPartition(topic, partition)] = error_code, offset
                _skip_rest_of_partition(data)
            TaggedFields.decode(data)
        return answer


def _skip_rest_of_partition(data: BytesIO) -> None:
    """Passes what is said of each record that was refused, a text, and the leader if it moved."""
    for _ in range(UnsignedVarInt32.decode(data) - 1):
        Int32.decode(data)
        _NOTE.decode(data)
        TaggedFields.decode(data)
    _NOTE.decode(data)
    TaggedFields.decode(data)


class Produce(Request[Produced]):
    """Writes one batch to each of several partitions that one broker leads, in a transaction that
    it begins or goes on with."""

    API_KEY = 0
    API_VERSION = 12
    RESPONSE_TYPE = Produced

    def __init__(
        self, transactional_id: str, batches: Mapping[TopicPartition, bytes], timeout_ms: int
    ) -> None:
        by_topic: dict[str, list[tuple[int, bytes]]] = {}
        for (topic, partition), batch in batches.items():
            by_topic.setdefault(topic, []).append((partition, batch))
        parts = [
            compact(transactional_id.encode()),
            _produce_head.pack(ACKS_ALL, timeout_ms),
            UnsignedVarInt32.encode(len(by_topic) + 1),
        ]
        for topic, of_topic in by_topic.items():
            parts += [compact(topic.encode()), compact_length(len(of_topic))]
            for partition, batch in of_topic:
                parts += [_int32.pack(partition), compact(batch), NO_TAGS]
            parts.append(NO_TAGS)
        parts.append(NO_TAGS)
        super().__init__(b"".join(parts))


# -- EndTxn --------------------------------------------------------------------------------------


class Ended(Response):  # type: ignore[misc]
    """Answers ``Commit``. ``producer_id``, ``producer_epoch``: of the next transaction."""

    error_code: int
    producer_id: int
    producer_epoch: int
    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "Ended":
        answer = cls()
        _, answer.error_code, answer.producer_id, answer.producer_epoch = _ended.unpack(
            data.read(_ended.size)
        )
        return answer


class Commit(Request[Ended]):
    """Ends a transaction."""

    API_KEY = 26
    API_VERSION = 5
    RESPONSE_TYPE = Ended

    def __init__(self, transactional_id: str, producer_id: int, producer_epoch: int) -> None:
        producer = _producer.pack(producer_id, producer_epoch, True)
        super().__init__(compact(transactional_id.encode()) + producer + NO_TAGS)


# -- ApiVersions ---------------------------------------------------------------------------------


class Features(Response):  # type: ignore[misc]
    """Answers ``AskFeatures``. ``levels``: what the cluster has agreed on, by feature."""

    error_code: int
    levels: dict[str, int]
    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "Features":
        answer = cls()
        answer.error_code = Int16.decode(data)
        answer.levels = {}
        if answer.error_code == 0:
            _APIS.decode(data)
            Int32.decode(data)  # how long we were throttled
            finalized = TaggedFields.decode(data).get(_FINALIZED_FEATURES)
            features = _FEATURES.decode(BytesIO(finalized)) if finalized else ()
            answer.levels = {name: most for name, most, _, _ in features}
        return answer


class AskFeatures(Request[Features]):
    """Asks what the cluster has agreed on (KIP-584)."""

    API_KEY = 18
    API_VERSION = 3
    RESPONSE_TYPE = Features

    def __init__(self) -> None:
        super().__init__(compact(b"lockstream") + compact(b"1") + NO_TAGS)

    def parse_response_header(self, data: Any) -> Any:
        # For ever in its first version: whoever asks does not know yet what the broker knows.
        return ResponseHeader_v0.decode(data)


# -- IncrementalAlterConfigs ---------------------------------------------------------------------


class Altered(Response):  # type: ignore[misc]
    """Answers ``AlterTopicSetting``. ``resources``: code, text, kind and name of each."""

    resources: list[tuple[int, str | None, int, str]]

    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("resources", Array(("error", Int16), ("text", _TEXT), ("kind", Int8), ("name", _TEXT))),
    )


class AlterTopicSetting(Request[Altered]):
    """Changes one setting, by topic (KIP-339). aiokafka's AlterConfigs resets all other settings of
    the topic."""

    FLEXIBLE_VERSION = False
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = Altered

    def __init__(self, setting: str, values: Mapping[str, str]) -> None:
        changes = [
            (ConfigResourceType.TOPIC, topic, [(setting, _SET, value)])
            for topic, value in values.items()
        ]
        validate_only = False
        super().__init__(_CHANGES.encode(changes) + Boolean.encode(validate_only))
