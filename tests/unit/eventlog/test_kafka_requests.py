"""Requests and answers that are written and read by hand, byte by byte as the protocol has them."""

import struct
from io import BytesIO

import pytest

from eventlog.kafka_errors import kafka_errors
from eventlog.kafka_requests import AlterTopicSetting, AskFeatures, Commit, Produce, Produced
from eventlog.records import TopicPartition
from runtime.errors import KafkaRefused

VERSIONS = {0: (0, 13), 26: (0, 5), 18: (0, 4)}


def test_a_batch_is_sent_as_produce_version_12() -> None:
    request = Produce("tx", {TopicPartition("events", 5): b"BATCH"}, 10_000).prepare(VERSIONS)
    assert (request.API_KEY, request.API_VERSION, request.FLEXIBLE_VERSION) == (0, 12, True)
    assert request.encode() == (
        b"\x03tx"  # transactional id, its length + 1 before it
        b"\xff\xff\x00\x00\x27\x10"  # acks -1 (all), 10,000 ms
        b"\x02\x07events"  # one topic
        b"\x02\x00\x00\x00\x05\x06BATCH"  # one partition: number, records
        b"\x00\x00\x00"  # no tags: of the partition, of the topic, of the request
    )


def test_a_large_batch_has_a_length_of_several_bytes() -> None:
    request = Produce("tx", {TopicPartition("t", 0): b"x" * 300}, 1).prepare(VERSIONS)
    assert b"\xad\x02" + b"x" * 300 in request.encode()


def test_where_a_batch_stands_is_read_whatever_follows_it() -> None:
    answer = (
        Produce("tx", {TopicPartition("events", 5): b""}, 1)
        .prepare(VERSIONS)
        .RESPONSE_TYPE.decode(
            BytesIO(
                b"\x02\x07events\x02"
                b"\x00\x00\x00\x05"  # partition
                b"\x00\x00"  # error
                b"\x00\x00\x00\x00\x00\x00\x01\x02"  # base offset
                b"\xff\xff\xff\xff\xff\xff\xff\xff"
                b"\x00\x00\x00\x00\x00\x00\x00\x00"
                b"\x01\x00\x00\x00"
                b"\x00\x00\x00\x00\x00"
            )
        )
    )
    assert answer.written == {TopicPartition("events", 5): (0, 258)}


def test_batches_of_several_partitions_are_sent_in_one_request() -> None:
    batches = {
        TopicPartition("events", 5): b"A",
        TopicPartition("parked", 5): b"B",
        TopicPartition("events", 7): b"C",
    }
    assert Produce("tx", batches, 1).encode() == (
        b"\x03tx\xff\xff\x00\x00\x00\x01"
        b"\x03\x07events\x03\x00\x00\x00\x05\x02A\x00\x00\x00\x00\x07\x02C\x00\x00"
        b"\x07parked\x02\x00\x00\x00\x05\x02B\x00\x00"
        b"\x00"
    )


def test_an_answer_about_several_partitions_is_read_by_their_names() -> None:
    """As Kafka's ProduceResponse.json (version 12) lays it out, with all that it may say."""
    partition = struct.Struct(">ihqqq")
    body = b"".join(
        (
            b"\x03",
            b"\x07parked\x02" + partition.pack(3, 0, 17, -1, 0) + b"\x01\x00\x00\x00",
            b"\x07events\x03",
            partition.pack(1, 10, -1, -1, 0),
            b"\x02" + struct.pack(">i", 4) + b"\x04bad\x00" + b"\x05text" + b"\x00",
            partition.pack(0, 0, 5, -1, 0) + b"\x01\x00\x00" + b"\x00",
            struct.pack(">i", 0) + b"\x00",
        )
    )
    answer = Produced.decode(BytesIO(body))
    assert answer.written == {
        TopicPartition("parked", 3): (0, 17),
        TopicPartition("events", 1): (10, -1),
        TopicPartition("events", 0): (0, 5),
    }


def test_a_commit_is_sent_as_end_txn_version_5_and_tells_the_next_epoch() -> None:
    request = Commit("tx", 7, 3).prepare(VERSIONS)
    assert (request.API_KEY, request.API_VERSION, request.FLEXIBLE_VERSION) == (26, 5, True)
    assert request.encode() == (
        b"\x03tx"
        b"\x00\x00\x00\x00\x00\x00\x00\x07"  # producer id
        b"\x00\x03"  # its epoch
        b"\x01"  # commit
        b"\x00"
    )
    answer = request.RESPONSE_TYPE.decode(
        BytesIO(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x04\x00")
    )
    assert (answer.error_code, answer.producer_id, answer.producer_epoch) == (0, 8, 4)


def features(tags: bytes) -> dict[str, int]:
    answered = b"\x00\x00" + b"\x02\x00\x00\x00\x00\x00\x0d\x00" + b"\x00\x00\x00\x00" + tags
    answer = AskFeatures().prepare(VERSIONS).RESPONSE_TYPE.decode(BytesIO(answered))
    levels: dict[str, int] = answer.levels
    return levels


def test_what_the_cluster_has_agreed_on_is_read() -> None:
    finalized = b"\x02" + b"\x14transaction.version" + b"\x00\x02\x00\x01\x00"
    supported = b"\x02" + b"\x14transaction.version" + b"\x00\x00\x00\x09\x00"
    both = (
        b"\x03"
        + (b"\x00" + bytes([len(supported)]) + supported)
        + (b"\x01\x08" + b"\x00" * 8)
        + (b"\x02" + bytes([len(finalized)]) + finalized)
    )
    assert features(both) == {"transaction.version": 2}


def test_a_cluster_that_has_agreed_on_nothing_has_no_levels() -> None:
    assert features(b"\x00") == {}


def test_a_broker_that_does_not_know_the_question_has_no_levels() -> None:
    refused = AskFeatures().prepare(VERSIONS).RESPONSE_TYPE.decode(BytesIO(b"\x00\x23\x00\x00"))
    assert (refused.error_code, refused.levels) == (35, {})


def test_a_request_that_a_broker_does_not_speak_is_a_refusal() -> None:
    with pytest.raises(KafkaRefused), kafka_errors("changing the topics' settings"):
        AlterTopicSetting("max.message.bytes", {"events": "1"}).prepare({})
