"""Records as anybody may write them: every fact is parked or an event, and nothing ends."""

import asyncio
import contextlib
import random
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from chaos.raw_batches import RawRecord, raw_batch, write_batch
from command_api.recent_events import RecentEvents
from eventlog.kafka import Kafka
from eventlog.records import Record
from eventlog.registry import Registry, read_registry, registry_tail
from eventlog.tail import Tail
from fanout.role import run_fanout
from operations.audit.auditor import Auditor
from projector.role import run_projector
from runtime.readiness import Readiness
from runtime.settings import Settings
from schemas.lock_events import EventHeaders
from schemas.lock_facts import LockCreation, encode_fact
from schemas.parked_facts import ParkedHeaders, original_headers
from schemas.registry import Organization, encode_entry, entry_key
from schemas.topics import MAX_RECORD_BYTES, lock_key, partition_of
from tests.examples_of import TIME, lock_created, temp_key_used
from tests.integration.conftest import open_read_model
from tests.integration.kafka_tools import eventually, read_all, write_facts, write_raw
from tests.integration.roles import add_partner, install, running

ANY_KEY = (b"\xff\xfe", b"v")
SEEDS = range(2)


@pytest.fixture
async def topic(kafka: Kafka, settings: Settings) -> str:
    await install(kafka, settings)
    return settings.topics.lock_facts


async def test_a_header_key_that_is_not_utf_8_loses_no_record(kafka: Kafka, topic: str) -> None:
    """In a batch, and in what is fetched with it, in the order of their offsets, each once."""
    await write_raw(kafka, topic, 0, b"a", b"0")
    batch = [
        RawRecord(b"k", b"%d" % n, [ANY_KEY, ("é".encode(), None)] if n == 3 else ())
        for n in range(1, 6)
    ]
    await write_batch(kafka, topic, 0, batch)
    await write_raw(kafka, topic, 0, None, b"6", (("x", b"y"),))
    await write_raw(kafka, topic, 1, None, b"other")
    read = await read_all(kafka, topic, 3)
    assert [r.value for r in read] == [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"other"]
    assert [r.offset for r in read if r.partition == 0] == list(range(7))
    assert list(read[3].headers) == [("\\xff\\xfe", b"v"), ("é", None)]
    assert read[6].headers == (("x", b"y"),)
    seen: list[Record] = []
    stop = asyncio.Event()
    tail = Tail(kafka, {topic: {0: 0}}, lambda _, records: seen.extend(records))
    following = asyncio.ensure_future(tail.run(stop))

    async def all_seen() -> bool:
        return len(seen) == 7

    await eventually(all_seen)
    stop.set()
    await following
    assert [r.value for r in seen] == [b"%d" % n for n in range(7)]


async def test_a_bad_registry_record_takes_no_other_with_it(
    kafka: Kafka, settings: Settings, topic: str, logged_errors: list[str]
) -> None:
    registry = settings.topics.registry
    org = Organization(id="acme", created_at=TIME)
    sound = encode_entry(org)
    bad = [
        RawRecord(b"org/x", sound),  # another one's key
        RawRecord(b"\xff", sound),
        RawRecord(b"k", b'{"kind":"organization","id":"\xff"}'),
        RawRecord(b"k", b'{"kind":"melon"}'),
        RawRecord(b"k", b"[" * 100_000),
        RawRecord(b"k", sound.replace(TIME.encode(), b"soon")),
        RawRecord(b"org/acme", b"\xff"),
    ]
    await write_batch(
        kafka,
        registry,
        0,
        [RawRecord(entry_key(org), sound, [ANY_KEY]), *bad, RawRecord(b"n", None)],
    )
    found = await read_registry(kafka, registry)
    assert found.all(Organization) == [org]
    assert len(logged_errors) == len(bad)
    logged_errors.clear()
    followed, stop = Registry(), asyncio.Event()
    tail = registry_tail(kafka, registry, followed)
    following = asyncio.ensure_future(tail.run(stop))
    await asyncio.wait_for(tail.caught_up.wait(), 30)
    stop.set()
    await following
    assert followed.organization("acme") == org
    logged_errors.clear()


def garbage(rng: random.Random, lock_id: int) -> RawRecord:
    """Anything; often a fact in which something was changed."""
    good = encode_fact(temp_key_used(lock_id, user_id="someone"))
    kind = rng.randrange(9)
    value: bytes | None = good
    if kind == 0:
        value = rng.randbytes(rng.randrange(200))
    elif kind == 1:
        at = rng.randrange(len(good))
        value = good[:at] + rng.randbytes(rng.randrange(1, 4)) + good[at + rng.randrange(4) :]
    elif kind == 2:
        value = good.replace(
            b"someone", rng.choice([b"\xff", b"\\u0000", b"\\ud800", b"\xed\xa0\x80"])
        )
    elif kind == 3:
        value = rng.choice([None, b"", b"[" * 100_000, b"null", b"9" * 9000])
    elif kind == 4:
        value = good.replace(b"2026", rng.choice([b"0000", b"0001", b"9999", "٢٠٢٦".encode()]))
    elif kind == 5:
        value = good.replace(b'"kind"', b'"keyId":"' + b"k" * rng.randrange(200) + b'","kind"')
    key = rng.choice([lock_key(lock_id)] * 6 + [None, b"", b"\xff", b"07", rng.randbytes(5)])
    names = [
        b"traceparent",
        b"tracestate",
        b"parked-reason",
        b"source-offset",
        b"\xff",
        b"",
        "é".encode(),
    ]
    headers = [
        (
            rng.choice([*names, rng.randbytes(4)]),
            rng.choice([None, b"", b"x" * 70, rng.randbytes(9)]),
        )
        for _ in range(rng.choice([0, 0, 1, 3, 12]))
    ]
    return RawRecord(key, value, headers)


async def settled(kafka: Kafka, settings: Settings, offsets: dict[int, set[int]]) -> None:
    """Returns once every one of these facts is parked or an event."""
    topics, partitions = settings.topics, settings.partitions

    async def all_settled() -> bool:
        left = {(p, o) for p, found in offsets.items() for o in found}
        for event in await read_all(kafka, topics.lock_events, partitions):
            with contextlib.suppress(ValueError):
                headers = EventHeaders.from_kafka(event.headers)
                left.discard((event.partition, headers.source_offset))
        for parked in await read_all(kafka, topics.parked_facts, partitions):
            left.discard((parked.partition, ParkedHeaders.from_kafka(parked.headers).source_offset))
        return not left

    await eventually(all_settled, 60)


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_is_written_every_fact_is_parked_or_an_event(
    kafka: Kafka, settings: Settings, topic: str, seed: int, logged_errors: list[str]
) -> None:
    rng = random.Random(seed)
    partitions, topics = settings.partitions, settings.topics
    await add_partner(kafka, settings)
    locks = range(1, 13)
    # The auditor asks for a UUID of each lock's own.
    created = [
        msgspec.structs.replace(lock, data=LockCreation(lock_uuid=uuid4(), org_id="acme"))
        for lock in map(lock_created, locks)
    ]
    await write_facts(kafka, topic, partitions, created)
    offsets: dict[int, set[int]] = {p: set() for p in range(partitions)}
    async with (
        running(run_projector, settings) as projector,
        running(run_fanout, settings) as fanout,
    ):
        for _ in range(12):
            lock = rng.choice(locks)
            partition = partition_of(lock, partitions)
            batch = [garbage(rng, lock) for _ in range(rng.randrange(1, 12))]
            first = await write_batch(kafka, topic, partition, batch)
            offsets[partition].update(range(first, first + len(batch)))
        for _ in range(3):
            poison = [garbage(rng, 1) for _ in range(5)]
            await write_batch(kafka, topics.registry, 0, [r for r in poison if r.key is not None])
        await settled(kafka, settings, offsets)
        # Then the good ones still get through, to the partner too.
        after = [temp_key_used(n, f"after-{n}") for n in locks]
        await write_facts(kafka, topic, partitions, after)
        wanted = {str(fact.event_id).encode() for fact in after}

        async def delivered() -> bool:
            records = await read_all(kafka, topics.partner_events("crm"), partitions)
            return wanted <= {dict(r.headers)["ce_id"] for r in records}

        await eventually(delivered, 60)
        assert not projector.task.done()
        assert not fanout.task.done()
    model = open_read_model(settings)
    try:
        auditor = Auditor(kafka, settings, model)
        plan = await auditor.plan()
        assert [v async for v in auditor.run(plan, lambda _: None)] == []
    finally:
        await model.close()
    logged_errors.clear()


async def test_foreign_records_in_outputs_stop_their_partition_and_no_process(
    kafka: Kafka, settings: Settings, topic: str, logged_errors: list[str]
) -> None:
    rng = random.Random(7)
    partitions, topics = settings.partitions, settings.topics
    await add_partner(kafka, settings)
    await write_facts(kafka, topic, partitions, [lock_created(n) for n in range(1, 13)])
    foreign = [garbage(rng, 1) for _ in range(6)]
    foreign[0] = RawRecord(b"1", b"\xff", [ANY_KEY])
    home = 0
    other = next(n for n in range(1, 13) if partition_of(n, partitions) != home)
    for name in (topics.lock_events, topics.partner_events("crm"), topics.parked_facts):
        await write_batch(kafka, name, home, foreign)
    readiness = Readiness()
    recent = RecentEvents(topics, dict.fromkeys(range(partitions), 0), readiness)
    stop = asyncio.Event()
    tail = Tail(
        kafka,
        {t: dict.fromkeys(range(partitions), 0) for t in (topics.lock_events, topics.parked_facts)},
        recent.take,
    )
    following = asyncio.ensure_future(tail.run(stop))
    async with (
        running(run_projector, settings) as projector,
        running(run_fanout, settings) as fanout,
    ):
        fact = temp_key_used(other, "after")
        await write_facts(kafka, topic, partitions, [fact])

        async def delivered() -> bool:
            records = await read_all(kafka, topics.partner_events("crm"), partitions)
            return str(fact.event_id).encode() in {dict(r.headers).get("ce_id") for r in records}

        await eventually(delivered, 60)
        assert not projector.task.done()
        assert not fanout.task.done()
        assert not following.done()
        assert recent.event(str(fact.event_id)) is not None
        assert "can't be read" in readiness.obstacles["lock-events"]
    stop.set()
    await following
    model = open_read_model(settings)
    try:
        auditor = Auditor(kafka, settings, model)
        found = [v async for v in auditor.run(await auditor.plan(), lambda _: None)]
    finally:
        await model.close()
    assert "unreadable-record" in {v.kind for v in found}
    logged_errors.clear()


def _fact_of(size: int, key: bytes, headers: list[tuple[bytes, bytes | None]]) -> RawRecord:
    """A valid fact whose batch is of this size: JSON may have blanks."""
    value = encode_fact(temp_key_used(7, "full"))

    def padded(blanks: int) -> RawRecord:
        return RawRecord(key, value[:-1] + b" " * blanks + b"}", headers)

    blanks = size - len(raw_batch([padded(0)]))
    # The lengths in front of a longer text are longer too.
    blanks -= len(raw_batch([padded(blanks)])) - size
    assert len(raw_batch([padded(blanks)])) == size
    return padded(blanks)


async def test_facts_of_every_size_around_the_limit_become_events_and_reach_the_partner(
    kafka: Kafka, settings: Settings, topic: str
) -> None:
    partitions, topics = settings.partitions, settings.topics
    await add_partner(kafka, settings)
    home = partition_of(7, partitions)
    await write_facts(kafka, topic, partitions, [lock_created(7)])
    limit = MAX_RECORD_BYTES
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sound = [_fact_of(size, b"7", []) for size in (limit - 400, limit - 300, limit - 1, limit)]
    sound.append(
        _fact_of(limit, b"7", [(b"traceparent", trace), (b"tracestate", b"a=" + b"x" * 900_000)])
    )
    sound.append(_fact_of(limit, b"7", [(b"traceparent", b"x" * 1_000_000)]))
    sound.append(_fact_of(limit, b"7", [(b"h", b"")] * 100_000))
    long_key = encode_fact(temp_key_used(7)).replace(b"abcDEF123456", b"k" * 1_047_000)
    poison = [
        RawRecord(b"7", long_key),
        RawRecord(b"7", b"x" * (limit - 200)),
        RawRecord(b"7" * (limit - 200), b"x"),
        RawRecord(b"7", b"x", [(b"\xff" * (limit - 200), b"")]),
        RawRecord(b"7", b"x", [(b"h", b"")] * 340_000),
    ]
    parked: list[Record] = []
    async with running(run_projector, settings), running(run_fanout, settings):
        for record in [*sound, *poison]:
            await write_batch(kafka, topic, home, [record])
        last = temp_key_used(7, "last")
        await write_facts(kafka, topic, partitions, [last])

        async def delivered() -> bool:
            records = await read_all(kafka, topics.partner_events("crm"), partitions)
            return str(last.event_id).encode() in {dict(r.headers)["ce_id"] for r in records}

        await eventually(delivered, 120)
        parked = await read_all(kafka, topics.parked_facts, partitions)
    assert [p.value for p in parked[:4]] == [p.value for p in poison[:4]]
    assert len(parked) == len(poison)
    assert original_headers(parked[3].headers) == ()
    assert "left out" in ParkedHeaders.from_kafka(parked[3].headers).detail
    events = await read_all(kafka, topics.lock_events, partitions)
    assert [EventHeaders.from_kafka(e.headers).traceparent for e in events[1:]] == [
        *[None] * 4,
        trace,
        None,
        None,
        None,
    ]


async def test_topics_that_take_less_are_given_room_and_keep_their_other_settings(
    kafka: Kafka, settings: Settings
) -> None:
    from aiokafka.admin import NewTopic
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    low, high = settings.topics.lock_events, settings.topics.parked_facts
    async with kafka.admin() as admin:
        mine = {"max.message.bytes": "5000", "segment.ms": "7654321", "retention.ms": "-1"}
        roomier = {"max.message.bytes": "9000000"}
        await admin._client.create_topics(
            [
                NewTopic(name, settings.partitions, 1, topic_configs=own)
                for name, own in ((low, mine), (high, roomier))
            ]
        )
        await install(kafka, settings)
        await install(kafka, settings)
        found: dict[str, dict[str, str]] = {}

        async def roomy() -> bool:
            # A broker may still describe a topic as it was a moment ago.
            asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in (low, high)]
            for answer in await admin._client.describe_configs(asked):
                for resource in answer.resources:
                    found[resource[3]] = {entry[0]: entry[1] for entry in resource[4]}
            return found[low]["max.message.bytes"] == str(2 * MAX_RECORD_BYTES)

        await eventually(roomy)
    assert (found[low]["segment.ms"], found[low]["retention.ms"]) == ("7654321", "-1")
    assert found[high]["max.message.bytes"] == "9000000"


async def test_facts_in_a_batch_of_any_codec_become_events(
    kafka: Kafka, settings: Settings, topic: str
) -> None:
    """Other writers compress; what of it aiokafka can read depends on what is installed."""
    partitions, topics = settings.partitions, settings.topics
    await write_facts(kafka, topic, partitions, [lock_created(7)])
    facts = []
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        facts.append(temp_key_used(7, codec))
        async with AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap_servers, compression_type=codec
        ) as producer:
            # Short ones are sent as they are.
            value = encode_fact(facts[-1])[:-1] + b" " * 2000 + b"}"
            await producer.send_and_wait(topic, value, b"7", partition_of(7, partitions))
    async with running(run_projector, settings):

        async def recorded() -> bool:
            events = await read_all(kafka, topics.lock_events, partitions)
            found = [EventHeaders.from_kafka(e.headers).event_id for e in events[1:]]
            return found == [str(fact.event_id) for fact in facts]

        await eventually(recorded)
