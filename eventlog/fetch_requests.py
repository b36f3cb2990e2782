"""The Fetch request names only what a broker does not know yet, in a session of KIP-227.

Bodies are written and read by hand, as Apache Kafka's ``FetchRequest.json`` and
``FetchResponse.json`` say of version 11: the last before flexible fields, spoken from 2.3 to 4.x.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO

import msgspec
from aiokafka.protocol.api import Response
from aiokafka.protocol.types import Schema

from eventlog.kafka_requests import Request
from eventlog.records import TopicPartition

NO_SESSION = 0
FIRST_EPOCH = 0
"""Begins a session; an old one that is named with it is closed."""
WITHOUT_SESSION = -1
_LAST_EPOCH = 2**31 - 1
_NOT_A_REPLICA = -1
_LEAST_BYTES = 1
_READ_COMMITTED = 1
_UNKNOWN = -1
_NO_RACK = b"\x00\x00"

_head = struct.Struct(">iiiibii")
_int32 = struct.Struct(">i")
_int16 = struct.Struct(">h")
_asked = struct.Struct(">iiqqi")
_answer_head = struct.Struct(">ihii")
_answered = struct.Struct(">ihqqqi")
_aborted = struct.Struct(">qq")
_records_head = struct.Struct(">ii")


class Limits(msgspec.Struct, frozen=True):
    """Says how long a fetch may stay at the broker, and how much its answer may hold: together, and
    of each partition. One batch that is larger comes all the same."""

    wait_ms: int
    fetch_bytes: int
    partition_bytes: int


class PartitionAnswer(msgspec.Struct, frozen=True, gc=False):
    """Holds what was fetched of one partition. ``aborted``: producer ids, each with the first
    offset of a transaction of its that was aborted."""

    tp: TopicPartition
    error_code: int
    high_watermark: int
    aborted: tuple[tuple[int, int], ...]
    records: memoryview


class Fetched(Response):  # type: ignore[misc]
    """Answers ``Fetch``."""

    error_code: int
    session_id: int
    partitions: list[PartitionAnswer]
    API_KEY = 1
    API_VERSION = 11
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "Fetched":
        answer = cls()
        view = memoryview(data.getvalue())
        pos = data.tell()
        _, answer.error_code, answer.session_id, topics = _answer_head.unpack_from(view, pos)
        answer.partitions = list(_partitions(view, pos + _answer_head.size, topics))
        return answer


def _partitions(view: memoryview, pos: int, topics: int) -> Iterator[PartitionAnswer]:
    for _ in range(topics):
        (length,) = _int16.unpack_from(view, pos)
        pos += _int16.size
        topic = str(view[pos : pos + length], "utf-8")
        pos += length
        (partitions,) = _int32.unpack_from(view, pos)
        pos += _int32.size
        for _ in range(partitions):
            partition, code, high, _, _, count = _answered.unpack_from(view, pos)
            pos += _answered.size
            aborted = []
            for _ in range(count):
                aborted.append(_aborted.unpack_from(view, pos))
                pos += _aborted.size
            _, size = _records_head.unpack_from(view, pos)
            pos += _records_head.size
            records = view[pos : pos + max(size, 0)]
            pos += len(records)
            tp = TopicPartition(topic, partition)
            yield PartitionAnswer(tp, code, high, tuple(aborted), records)


class Fetch(Request[Fetched]):
    """Reads what is committed of partitions, each from an offset on."""

    FLEXIBLE_VERSION = False
    API_KEY = 1
    API_VERSION = 11
    RESPONSE_TYPE = Fetched

    def __init__(
        self,
        limits: Limits,
        session: tuple[int, int],
        named: Mapping[TopicPartition, int],
        forgotten: Iterable[TopicPartition] = (),
    ) -> None:
        most, of_one = limits.fetch_bytes, limits.partition_bytes
        head = (_NOT_A_REPLICA, limits.wait_ms, _LEAST_BYTES, most, _READ_COMMITTED, *session)
        asked = {
            tp: _asked.pack(tp.partition, _UNKNOWN, offset, _UNKNOWN, of_one)
            for tp, offset in named.items()
        }
        left = {tp: _int32.pack(tp.partition) for tp in forgotten}
        super().__init__(_head.pack(*head) + _by_topic(asked) + _by_topic(left) + _NO_RACK)
        self.named = named


def _by_topic(entries: Mapping[TopicPartition, bytes]) -> bytes:
    topics: dict[str, list[bytes]] = {}
    for tp, entry in entries.items():
        topics.setdefault(tp.topic, []).append(entry)
    parts = [_int32.pack(len(topics))]
    for topic, found in topics.items():
        name = topic.encode()
        parts += (_int16.pack(len(name)), name, _int32.pack(len(found)), *found)
    return b"".join(parts)


class FetchSession:
    """Counts the requests of a session with one broker, and knows what the broker knows: of all
    that is wanted, a request names what has moved since."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._id = NO_SESSION
        self._epoch = FIRST_EPOCH
        self._told: Mapping[TopicPartition, int] = {}

    def ask(self, wanted: Mapping[TopicPartition, int]) -> Fetch:
        """Returns the request for all that is wanted, each from its offset on. ``answered`` or
        ``lose`` has to follow."""
        told, self._told = self._told, wanted
        session = (self._id, self._epoch)
        if self._epoch == FIRST_EPOCH:
            return Fetch(self._limits, session, wanted)
        named = {tp: offset for tp, offset in wanted.items() if told.get(tp) != offset}
        return Fetch(self._limits, session, named, told.keys() - wanted.keys())

    def answered(self, session_id: int) -> None:
        """Takes the id out of an answer without an error; 0 if the broker has no room for one."""
        self._id = session_id
        if session_id == NO_SESSION:
            self._epoch = FIRST_EPOCH
        else:
            self._epoch = 1 if self._epoch == _LAST_EPOCH else self._epoch + 1

    def lose(self) -> None:
        """Begins anew with the next request: nobody knows what the broker knows. It is asked to
        close the session, should it still have it."""
        self._epoch = FIRST_EPOCH
