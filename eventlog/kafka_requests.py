"""Requests of Kafka's protocol that aiokafka does not have: those of a transaction by version 2 of
the transaction protocol (KIP-890), and the question whether the cluster speaks it.

Bodies are written and read by hand, as Apache Kafka's ``ProduceRequest.json`` (version 12),
``EndTxnRequest.json`` (5) and ``ApiVersionsRequest.json`` (3) say; aiokafka's ``client.send`` takes
them like its own.
"""

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Self

from aiokafka.protocol.api import RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)

ACKS_ALL = -1
_NO_TAGS = b"\x00"
_ONE_ELEMENT = b"\x02"
_FINALIZED_FEATURES = 2
"""The tag of ``ApiVersionsResponse`` that says what the cluster has agreed on."""

_produce_head = struct.Struct(">hi")
_int32 = struct.Struct(">i")
_produced = struct.Struct(">ihq")
_producer = struct.Struct(">qh?")
_ended = struct.Struct(">ihqh")

_APIS = CompactArray(("key", Int16), ("least", Int16), ("most", Int16), ("tags", TaggedFields))
_FEATURES = CompactArray(
    ("name", CompactString("utf-8")), ("most", Int16), ("least", Int16), ("tags", TaggedFields)
)


def _compact(value: bytes) -> bytes:
    length: bytes = UnsignedVarInt32.encode(len(value) + 1)
    return length + value


class _Request(RequestStruct):  # type: ignore[misc]
    """Of one version, with a body that is bytes already: what ``client.send`` takes, and sends."""

    FLEXIBLE_VERSION = True
    API_KEY = -1
    API_VERSION = -1
    RESPONSE_TYPE = Response
    SCHEMA = Schema()

    def __init__(self, body: bytes) -> None:
        self._body = body

    @classmethod
    def is_spoken(cls, versions: Mapping[int, tuple[int, int]]) -> bool:
        """By a broker with these least and greatest versions of each API."""
        least, most = versions.get(cls.API_KEY, (0, -1))
        return bool(least <= cls.API_VERSION <= most)

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Self:
        """
        Raises:
            NotImplementedError: the broker does not speak it.
        """
        if not self.is_spoken(versions):
            raise NotImplementedError(f"{type(self).__name__} version {self.API_VERSION}")
        return self

    def encode(self) -> bytes:
        return self._body


# -- Produce -------------------------------------------------------------------------------------


class _ProducedV12(Response):  # type: ignore[misc]
    """``offset``: of the first record, if ``error_code`` is 0."""

    API_KEY = 0
    API_VERSION = 12
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "_ProducedV12":
        UnsignedVarInt32.decode(data)  # of topics: one was sent
        data.read(UnsignedVarInt32.decode(data) - 1)  # its name
        UnsignedVarInt32.decode(data)  # of partitions: one was sent
        answer = cls()
        _, answer.error_code, answer.offset = _produced.unpack(data.read(_produced.size))
        return answer


class Produce(_Request):
    """One batch for one partition, in a transaction that it begins or goes on with. The answer has
    ``error_code`` and ``offset``."""

    API_KEY = 0
    API_VERSION = 12
    RESPONSE_TYPE = _ProducedV12

    def __init__(
        self, transactional_id: str, topic: str, partition: int, batch: bytes, timeout_ms: int
    ) -> None:
        super().__init__(
            b"".join(
                (
                    _compact(transactional_id.encode()),
                    _produce_head.pack(ACKS_ALL, timeout_ms),
                    _ONE_ELEMENT,
                    _compact(topic.encode()),
                    _ONE_ELEMENT,
                    _int32.pack(partition),
                    _compact(batch),
                    _NO_TAGS * 3,
                )
            )
        )


# -- EndTxn --------------------------------------------------------------------------------------


class _EndedV5(Response):  # type: ignore[misc]
    """``producer_id`` and ``producer_epoch``: of the transaction after this one."""

    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "_EndedV5":
        answer = cls()
        _, answer.error_code, answer.producer_id, answer.producer_epoch = _ended.unpack(
            data.read(_ended.size)
        )
        return answer


class Commit(_Request):
    """The answer has ``error_code``, ``producer_id`` and ``producer_epoch``."""

    API_KEY = 26
    API_VERSION = 5
    RESPONSE_TYPE = _EndedV5

    def __init__(self, transactional_id: str, producer_id: int, producer_epoch: int) -> None:
        producer = _producer.pack(producer_id, producer_epoch, True)
        super().__init__(_compact(transactional_id.encode()) + producer + _NO_TAGS)


# -- ApiVersions ---------------------------------------------------------------------------------


class _FeaturesV3(Response):  # type: ignore[misc]
    """``levels``: what the cluster has agreed on, by the feature's name."""

    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "_FeaturesV3":
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


class AskFeatures(_Request):
    """The answer has ``error_code`` and ``levels`` (KIP-584)."""

    API_KEY = 18
    API_VERSION = 3
    RESPONSE_TYPE = _FeaturesV3

    def __init__(self) -> None:
        super().__init__(_compact(b"lockstream") + _compact(b"1") + _NO_TAGS)

    def parse_response_header(self, data: Any) -> Any:
        # For ever in its first version: whoever asks does not know yet what the broker knows.
        return ResponseHeader_v0.decode(data)
