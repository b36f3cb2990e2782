"""Asks about many consumer groups at once: of the old protocol, and of the new one (KIP-848).

aiokafka reads answers about several groups wrongly, and knows nothing of the new protocol. To the
old question, a group of the new one is dead. Bodies are what Apache Kafka says in
``DescribeGroupsRequest.json`` (version 2), ``ConsumerGroupDescribeRequest.json`` (version 0),
and in the files of their answers.
"""

from collections.abc import Sequence
from io import BytesIO

from aiokafka.protocol.admin import DescribeGroupsResponse_v2
from aiokafka.protocol.api import Response
from aiokafka.protocol.types import (
    Array,
    CompactString,
    Int16,
    Int32,
    Schema,
    String,
    TaggedFields,
)
from aiokafka.protocol.types import UnsignedVarInt32 as Length

from eventlog.aiokafka_internals import GroupMember
from eventlog.kafka_requests import NO_TAGS, Request, compact_length

_TOPIC_ID_BYTES = 16
_EPOCH_BYTES = 4
_TEXT = CompactString("utf-8")


class DescribeGroups(Request[DescribeGroupsResponse_v2]):
    """Asks the coordinator of these groups how they stand."""

    FLEXIBLE_VERSION = False
    API_KEY = 15
    API_VERSION = 2
    RESPONSE_TYPE = DescribeGroupsResponse_v2

    def __init__(self, groups: Sequence[str]) -> None:
        super().__init__(Array(String("utf-8")).encode(groups))


class GroupsDescribed(Response):  # type: ignore[misc]
    """Answers ``DescribeNewGroups``. ``groups``: error code and members, by group."""

    groups: dict[str, tuple[int, list[GroupMember]]]
    API_KEY = 69
    API_VERSION = 0
    SCHEMA = Schema()

    @classmethod
    def decode(cls, data: BytesIO) -> "GroupsDescribed":
        answer = cls()
        Int32.decode(data)  # how long we were throttled
        answer.groups = dict(_group(data) for _ in range(_length(data)))
        TaggedFields.decode(data)
        return answer


def _length(data: BytesIO) -> int:
    """Reads how many entries an array has; none where it is null."""
    return max(0, int(Length.decode(data)) - 1)


def _group(data: BytesIO) -> tuple[str, tuple[int, list[GroupMember]]]:
    code = Int16.decode(data)
    _TEXT.decode(data)  # the error in words
    name = _TEXT.decode(data)
    _TEXT.decode(data)  # its state
    data.read(2 * _EPOCH_BYTES)
    _TEXT.decode(data)  # its assignor
    members = [_member(data) for _ in range(_length(data))]
    Int32.decode(data)  # what we may do with it
    TaggedFields.decode(data)
    return name, (code, members)


def _member(data: BytesIO) -> GroupMember:
    member_id = _TEXT.decode(data)
    _TEXT.decode(data)  # its instance id
    _TEXT.decode(data)  # its rack
    data.read(_EPOCH_BYTES)
    _TEXT.decode(data)  # its client id
    host = _TEXT.decode(data)
    for _ in range(_length(data)):
        _TEXT.decode(data)  # a topic that it subscribes to
    _TEXT.decode(data)  # … or a pattern of them
    partitions = _assignment(data)
    _assignment(data)  # what it is to have next
    TaggedFields.decode(data)
    return GroupMember(member_id or "", host or "", partitions)


def _assignment(data: BytesIO) -> list[int]:
    partitions: list[int] = []
    for _ in range(_length(data)):
        data.read(_TOPIC_ID_BYTES)
        _TEXT.decode(data)  # the topic's name
        partitions += [Int32.decode(data) for _ in range(_length(data))]
        TaggedFields.decode(data)
    TaggedFields.decode(data)
    return partitions


class DescribeNewGroups(Request[GroupsDescribed]):
    """Asks the coordinator of these groups for their members."""

    API_KEY = 69
    API_VERSION = 0
    RESPONSE_TYPE = GroupsDescribed

    def __init__(self, groups: Sequence[str]) -> None:
        names = b"".join(_TEXT.encode(group) for group in groups)
        what_we_may_do = b"\x00"
        super().__init__(compact_length(len(groups)) + names + what_we_may_do + NO_TAGS)
