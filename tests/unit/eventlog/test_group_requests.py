"""What is asked about groups of the new protocol, and what is answered, byte by byte."""

import struct
from io import BytesIO

from eventlog.aiokafka_internals import GroupMember
from eventlog.group_requests import DescribeNewGroups, GroupsDescribed
from eventlog.kafka_requests import Request

TOPIC_ID = bytes(range(16))


def text(value: str | None) -> bytes:
    return b"\x00" if value is None else bytes([len(value) + 1]) + value.encode()


def assignment(*partitions: int) -> bytes:
    numbers = b"".join(struct.pack(">i", number) for number in partitions)
    of_topic = TOPIC_ID + text("t") + bytes([len(partitions) + 1]) + numbers + b"\x00"
    return b"\x02" + of_topic + b"\x00"


def member(member_id: str, *partitions: int) -> bytes:
    return (
        text(member_id)
        + text(None)
        + text("rack")
        + struct.pack(">i", 3)
        + text("client")
        + text("/10.0.0.1")
        + (b"\x02" + text("t"))
        + text(None)
        + assignment(*partitions)
        + assignment(9)
        + b"\x00"
    )


def group(name: str, code: int, *members: bytes) -> bytes:
    return (
        struct.pack(">h", code)
        + text("why" if code else None)
        + text(name)
        + text("Stable")
        + struct.pack(">ii", 4, 4)
        + text("uniform")
        + bytes([len(members) + 1])
        + b"".join(members)
        + struct.pack(">i", -(2**31))
        + b"\x00"
    )


def test_new_groups_are_asked_for_by_name() -> None:
    request: Request[GroupsDescribed] = DescribeNewGroups(["a", "bc"]).prepare({69: (0, 1)})
    assert (request.API_KEY, request.API_VERSION, request.FLEXIBLE_VERSION) == (69, 0, True)
    assert request.encode() == b"\x03\x02a\x03bc\x00\x00"


def test_the_members_of_new_groups_are_read_with_what_they_have_now() -> None:
    body = (
        struct.pack(">i", 0)
        + b"\x03"
        + group("a", 0, member("one", 0, 2), member("two"))
        + group("gone", 69)
        + b"\x00"
    )
    assert GroupsDescribed.decode(BytesIO(body)).groups == {
        "a": (0, [GroupMember("one", "/10.0.0.1", [0, 2]), GroupMember("two", "/10.0.0.1", [])]),
        "gone": (69, []),
    }
