"""A fetcher hands over every committed record once, in order, and nothing else."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaProducer

from chaos.raw_batches import RawRecord, write_batch
from eventlog.clients.fetcher import Fetcher, Taken
from eventlog.fetch_requests import Fetch, Fetched, PartitionAnswer
from eventlog.kafka import Kafka
from eventlog.kafka_errors import errors
from eventlog.records import Record, TopicPartition
from runtime.settings import Settings
from tests.integration.kafka_tools import (
    delete_records,
    end_of,
    leave_aborted,
    open_transaction,
    write_raw,
)
from tests.integration.roles import install

DEADLINE_S = 30.0


@pytest.fixture
async def topic(kafka: Kafka, settings: Settings) -> str:
    await install(kafka, settings)
    return settings.topics.lock_events


@pytest.fixture
def tp(topic: str) -> TopicPartition:
    return TopicPartition(topic, 0)


@pytest.fixture
async def fetcher(kafka: Kafka, topic: str) -> AsyncIterator[Fetcher]:
    async with kafka.fetcher([topic]) as made:
        yield made


class Exchange:
    """Keeps what a fetcher asks, and what it is answered."""

    def __init__(self, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Fetch] = []
        self.answers: list[Fetched] = []
        self.change: Callable[[Fetch], Fetch] = lambda request: request
        ask_apart = fetcher.connections.ask_apart

        async def watched(node: int, request: Fetch) -> Fetched:
            self.asked.append(request)
            answer: Fetched = await ask_apart(node, self.change(request))
            self.answers.append(answer)
            return answer

        monkeypatch.setattr(fetcher.connections, "ask_apart", watched)

    async def reaches(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while len(self.answers) < count:  # noqa: ASYNC110 - a broker's answers
                await asyncio.sleep(0.01)


async def taken_until(
    fetcher: Fetcher, tp: TopicPartition, offset: int, most: int | None = None
) -> list[Taken]:
    found: list[Taken] = []
    async with asyncio.timeout(DEADLINE_S):
        while fetcher.position(tp) < offset:
            found += await fetcher.fetch(1, most)
    return found


async def read_until(
    fetcher: Fetcher, tp: TopicPartition, offset: int, most: int | None = None
) -> list[Record]:
    taken = await taken_until(fetcher, tp, offset, most)
    assert [entry.error for entry in taken if entry.error] == []
    return [record for entry in taken if entry.tp == tp for record in entry.records]


async def error_of(fetcher: Fetcher) -> errors.KafkaError:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            for taken in await fetcher.fetch(1):
                if taken.error is not None:
                    return taken.error


async def write_many(kafka: Kafka, tp: TopicPartition, count: int) -> None:
    for _ in range(0, count, 10):
        await write_batch(
            kafka, tp.topic, tp.partition, [RawRecord(b"k", b"%d" % n) for n in range(10)]
        )


async def test_committed_records_come_with_all_that_they_hold(
    kafka: Kafka, tp: TopicPartition, fetcher: Fetcher
) -> None:
    await write_raw(kafka, tp.topic, 0, b"key", b"value", (("a", b"b"), ("a", b"")))
    await write_raw(kafka, tp.topic, 0, b"", None)
    fetcher.follow(tp, 0)
    first, second = await read_until(fetcher, tp, 2)
    assert (first.partition, first.offset, first.key, first.value) == (0, 0, b"key", b"value")
    assert first.headers == (("a", b"b"), ("a", b""))
    assert first.timestamp_ms > 1_600_000_000_000
    assert (second.offset, second.key, second.value, second.headers) == (1, b"", None, ())
    assert fetcher.high_watermark(tp) == 2


async def test_aborted_records_and_markers_only_move_the_position(
    kafka: Kafka, tp: TopicPartition, fetcher: Fetcher
) -> None:
    await leave_aborted(kafka, tp.topic, b"aborted", b"too")
    async with open_transaction(kafka, f"{tp.topic}.w", tp.topic, 0, b"kept") as producer:
        await producer.commit_transaction()
    await leave_aborted(kafka, tp.topic, b"aborted again")
    end = await end_of(kafka, tp.topic, 0)
    fetcher.follow(tp, 0)
    assert [r.value for r in await read_until(fetcher, tp, end)] == [b"kept"]
    fetcher.follow(tp, end - 2)
    (only,) = await taken_until(fetcher, tp, end)
    assert only == Taken(tp, [], end)


async def test_what_is_not_decided_yet_does_not_come(
    kafka: Kafka, tp: TopicPartition, fetcher: Fetcher
) -> None:
    await write_raw(kafka, tp.topic, 0, None, b"before")
    async with open_transaction(kafka, f"{tp.topic}.w", tp.topic, 0, b"open") as producer:
        await write_raw(kafka, tp.topic, 0, None, b"behind")
        fetcher.follow(tp, 0)
        assert [r.value for r in await read_until(fetcher, tp, 1)] == [b"before"]
        assert await fetcher.fetch(0.7) == []
        await producer.commit_transaction()
        assert [r.value for r in await read_until(fetcher, tp, 3)] == [b"open", b"behind"]


async def test_a_position_amid_a_batch_brings_what_follows_it(
    kafka: Kafka, tp: TopicPartition, fetcher: Fetcher
) -> None:
    await write_many(kafka, tp, 10)
    fetcher.follow(tp, 4)
    assert [r.offset for r in await read_until(fetcher, tp, 10)] == [4, 5, 6, 7, 8, 9]


async def test_no_more_records_come_than_were_asked_for(
    kafka: Kafka, topic: str, fetcher: Fetcher
) -> None:
    tps = [TopicPartition(topic, n) for n in range(2)]
    for tp in tps:
        await write_many(kafka, tp, 30)
        fetcher.follow(tp, 0)
    found: dict[TopicPartition, list[int]] = {tp: [] for tp in tps}
    async with asyncio.timeout(DEADLINE_S):
        while sum(map(len, found.values())) < 60:
            taken = await fetcher.fetch(1, 7)
            assert sum(len(entry.records) for entry in taken) <= 7
            for entry in taken:
                found[entry.tp] += [record.offset for record in entry.records]
                assert fetcher.position(entry.tp) == entry.next_offset
                assert entry.next_offset == found[entry.tp][-1] + 1
    assert all(offsets == list(range(30)) for offsets in found.values())


async def test_a_small_answer_starves_no_partition(kafka: Kafka, topic: str) -> None:
    tps = [TopicPartition(topic, n) for n in range(3)]
    async with kafka.fetcher([topic], fetch_bytes=200) as fetcher:
        for tp in tps:
            await write_many(kafka, tp, 50)
            fetcher.follow(tp, 0)
        for tp in tps:
            await taken_until(fetcher, tp, 50)


async def test_an_idle_request_names_no_partition(
    kafka: Kafka, topic: str, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange(fetcher, monkeypatch)
    tps = [TopicPartition(topic, n) for n in range(3)]
    for tp in tps:
        fetcher.follow(tp, 0)
    async with asyncio.timeout(DEADLINE_S):
        # A topic that was made just now may have no leader yet.
        while any(fetcher.high_watermark(tp) is None for tp in tps):
            assert await fetcher.fetch(0.1) == []
    # The session's own next request names what was asked for beside it until then.
    await exchange.reaches(len(exchange.asked) + 2)
    steady = len(exchange.asked)
    await exchange.reaches(steady + 2)
    await write_raw(kafka, topic, 1, None, b"x")
    assert [r.value for r in await read_until(fetcher, tps[1], 1)] == [b"x"]
    fetcher.leave(tps[2])
    asked = len(exchange.asked)
    fetcher.request()
    await exchange.reaches(asked + 2)
    named = [request.named for request in exchange.asked[steady:]]
    assert named[1] == {}
    assert [found for found in named if found] == [{tps[1]: 1}]
    one, two = struct.pack(">i", 1), struct.pack(">i", 2)
    forgotten = one + struct.pack(">h", len(topic)) + topic.encode() + one + two + b"\x00\x00"
    left = [request.encode().endswith(forgotten) for request in exchange.asked[steady:]]
    assert left.count(True) == 1
    assert len({answer.session_id for answer in exchange.answers} - {0}) == 1


@pytest.mark.parametrize("epoch", [77, -1])
async def test_a_session_that_the_broker_has_lost_is_begun_anew(
    kafka: Kafka,
    tp: TopicPartition,
    fetcher: Fetcher,
    monkeypatch: pytest.MonkeyPatch,
    epoch: int,
) -> None:
    exchange = Exchange(fetcher, monkeypatch)
    session_at, wrong = 17, epoch

    class Changed(Fetch):
        def __init__(self, body: bytes) -> None:
            self._body = body

    def spoil(request: Fetch) -> Fetch:
        body = bytearray(request.encode())
        if struct.unpack_from(">i", body, session_at + 4) == (0,) or len(exchange.asked) != 2:
            return request
        if wrong > 0:
            struct.pack_into(">i", body, session_at + 4, wrong)
        else:
            struct.pack_into(">i", body, session_at, 12345)
        return Changed(bytes(body))

    exchange.change = spoil
    fetcher.follow(tp, 0)
    await fetcher.fetch(0.1)
    await exchange.reaches(4)
    await write_raw(kafka, tp.topic, 0, None, b"x")
    assert [r.value for r in await read_until(fetcher, tp, 1)] == [b"x"]
    codes = [answer.error_code for answer in exchange.answers[:4]]
    assert codes == [0, 71 if epoch > 0 else 70, 0, 0]
    assert [bool(request.named) for request in exchange.asked[:4]] == [True, False, True, False]


async def test_a_broker_without_room_for_sessions_is_told_everything(
    kafka: Kafka, tp: TopicPartition, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange(fetcher, monkeypatch)

    class Full(Fetch):
        def __init__(self, body: bytes) -> None:
            self._body = body

    def without(request: Fetch) -> Fetch:
        body = bytearray(request.encode())
        struct.pack_into(">ii", body, 17, 0, -1)
        return Full(bytes(body))

    exchange.change = without
    fetcher.follow(tp, 0)
    await fetcher.fetch(0.1)
    await exchange.reaches(2)
    await write_raw(kafka, tp.topic, 0, None, b"x")
    assert [r.value for r in await read_until(fetcher, tp, 1)] == [b"x"]
    assert {answer.session_id for answer in exchange.answers} == {0}
    assert all(request.named for request in exchange.asked)


async def test_a_move_drops_what_is_under_way_for_the_old_position(
    kafka: Kafka, tp: TopicPartition, fetcher: Fetcher
) -> None:
    await write_many(kafka, tp, 20)
    fetcher.follow(tp, 0)
    fetcher.request()
    fetcher.follow(tp, 15)
    assert [r.offset for r in await read_until(fetcher, tp, 20)] == [15, 16, 17, 18, 19]
    fetcher.follow(tp, 0)
    assert [r.offset for e in await fetcher.fetch(DEADLINE_S, 3) for r in e.records] == [0, 1, 2]
    fetcher.follow(tp, 18)
    assert fetcher.take() == []
    assert [r.offset for r in await read_until(fetcher, tp, 20)] == [18, 19]
    fetcher.leave(tp)
    assert fetcher.followed() == set()
    await write_many(kafka, tp, 10)
    assert await fetcher.fetch(0.3) == []


async def test_a_partition_that_is_added_waits_for_no_request_that_is_out(
    kafka: Kafka, topic: str
) -> None:
    """Nor does a moved one. The request that is out stays at the broker for longer than the test
    may take."""
    idle, late = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await write_many(kafka, late, 10)
    async with kafka.fetcher([topic], fetch_wait_ms=9_000) as fetcher:
        fetcher.follow(idle, 0)
        assert await fetcher.fetch(0.5) == []
        async with asyncio.timeout(4):
            fetcher.follow(late, 0)
            assert len(await read_until(fetcher, late, 10)) == 10
            fetcher.follow(late, 5)
            assert len(await read_until(fetcher, late, 10)) == 5
            await write_many(kafka, late, 10)
            assert len(await read_until(fetcher, late, 20)) == 10


async def test_every_record_comes_once_however_partitions_come_and_move(
    kafka: Kafka, topic: str
) -> None:
    tps = [TopicPartition(topic, n) for n in range(3)]
    for tp in tps:
        await write_many(kafka, tp, 100)
    async with kafka.fetcher([topic], fetch_bytes=600, fetch_wait_ms=100) as fetcher:
        for turn in range(12):
            tp = tps[turn % 3]
            begin = turn * 5
            for other in tps:
                if turn % 2 or other not in fetcher.followed():
                    fetcher.follow(other, begin)
            fetcher.follow(tp, begin)
            position = {other: fetcher.position(other) for other in fetcher.followed()}
            async with asyncio.timeout(DEADLINE_S):
                while position[tp] < 100:
                    for entry in await fetcher.fetch(1, 17):
                        offsets = [r.offset for r in entry.records]
                        begin, end = position[entry.tp], entry.next_offset
                        assert offsets == list(range(begin, end))
                        position[entry.tp] = end


async def test_a_position_where_nothing_is_is_told_and_left(
    kafka: Kafka, topic: str, fetcher: Fetcher
) -> None:
    gone, sound = TopicPartition(topic, 0), TopicPartition(topic, 1)
    await write_many(kafka, gone, 20)
    await write_many(kafka, sound, 10)
    await delete_records(kafka, topic, 0, 15)
    fetcher.follow(gone, 3)
    fetcher.follow(sound, 0)
    assert isinstance(await error_of(fetcher), errors.OffsetOutOfRangeError)
    assert fetcher.followed() == {sound}
    fetcher.follow(gone, 15)
    assert [r.offset for r in await read_until(fetcher, gone, 20)] == [15, 16, 17, 18, 19]


async def test_a_partition_without_a_leader_holds_up_no_other(
    kafka: Kafka, topic: str, fetcher: Fetcher, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere, sound = TopicPartition(topic, 999), TopicPartition(topic, 1)
    await write_many(kafka, sound, 10)
    fetcher.follow(nowhere, 0)
    fetcher.follow(sound, 0)
    assert len(await read_until(fetcher, sound, 10)) == 10


async def test_another_leader_is_found_and_the_reading_goes_on(
    kafka: Kafka, tp: TopicPartition, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker says at first that it leads the partition no more."""
    await write_many(kafka, tp, 10)
    exchange = Exchange(fetcher, monkeypatch)
    not_leader, decode = 6, Fetcher._answered
    spoiled: list[Fetched] = []

    def answered(self: Fetcher, broker: object, answer: Fetched, *rest: object) -> None:
        if len(spoiled) < 3:
            spoiled.append(answer)
            answer.partitions = [PartitionAnswer(tp, not_leader, -1, (), memoryview(b""))]
        decode(self, broker, answer, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Fetcher, "_answered", answered)
    fetcher.follow(tp, 0)
    assert len(await read_until(fetcher, tp, 10)) == 10
    assert len(spoiled) == 3
    assert len(exchange.asked) >= 4


async def test_a_connection_that_breaks_costs_no_record(
    kafka: Kafka, tp: TopicPartition, fetcher: Fetcher
) -> None:
    await write_many(kafka, tp, 10)
    fetcher.follow(tp, 0)
    assert len(await read_until(fetcher, tp, 10)) == 10
    fetcher.request()
    await asyncio.sleep(0.05)
    for connection in list(fetcher._client._conns.values()):
        connection.close()
    await write_many(kafka, tp, 10)
    assert [r.offset for r in await read_until(fetcher, tp, 20)] == list(range(10, 20))


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_batches_may_be_compressed(
    kafka: Kafka, settings: Settings, tp: TopicPartition, fetcher: Fetcher, codec: str
) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, compression_type=codec, linger_ms=50
    ) as producer:
        await asyncio.gather(
            *[
                await producer.send(tp.topic, b"%d" % n * 50, partition=0, headers=[("h", b"v")])
                for n in range(30)
            ]
        )
    fetcher.follow(tp, 0)
    read = await read_until(fetcher, tp, 30)
    assert [r.value for r in read] == [b"%d" % n * 50 for n in range(30)]
    assert read[7].headers == (("h", b"v"),)


async def test_header_keys_that_are_not_utf_8_come_escaped(
    kafka: Kafka, tp: TopicPartition, fetcher: Fetcher
) -> None:
    batch = [
        RawRecord(b"k", b"%d" % n, [(b"\xff", b"v"), ("é".encode(), None)] if n == 3 else ())
        for n in range(6)
    ]
    await write_batch(kafka, tp.topic, 0, batch)
    fetcher.follow(tp, 1)
    read = await read_until(fetcher, tp, 6, most=2)
    assert [r.offset for r in read] == [1, 2, 3, 4, 5]
    assert list(read[2].headers) == [("\\xff", b"v"), ("é", None)]
