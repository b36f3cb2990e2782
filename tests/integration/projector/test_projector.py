"""The projector on a real broker: versions, duplicates, parking, restoring, stopping."""

import sqlite3
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import msgspec
import pytest

from eventlog.kafka import Kafka
from eventlog.records import Record
from eventlog.transactional_writer import TransactionalWriter
from projector.fold_queue import FoldQueue
from projector.lock_uuids import LockUuids
from projector.metrics import ProjectorMetrics
from projector.partition import Projector, ProjectorPartition
from projector.role import run_projector
from read_model.database import Database, read_model_url
from read_model.fold import CommittedEvent, Stretch
from read_model.folding import ReadModelMoved
from read_model.rows import Known
from read_model.store import ReadModel
from runtime.errors import PartitionsChanged
from runtime.readiness import Readiness
from runtime.settings import Settings
from schemas.lanes import lane_id
from schemas.lock_events import (
    Event,
    EventHeaders,
    TempKeyUsedEvent,
    decode_event,
    encode_event,
)
from schemas.lock_facts import Fact, encode_fact
from schemas.parked_facts import ParkedHeaders
from schemas.topics import lock_key, partition_of
from tests.examples_of import (
    LOCK_UUID,
    lock_created,
    organization_set,
    temp_key_used,
    used_event,
)
from tests.integration.conftest import open_read_model
from tests.integration.kafka_tools import (
    delete_records,
    eventually,
    read_all,
    shares,
    write_facts,
    write_raw,
)
from tests.integration.roles import install, running


class Log:
    """The topics of one installation, as the tests write and read them."""

    def __init__(self, kafka: Kafka, settings: Settings) -> None:
        self.kafka, self.settings, self.topics = kafka, settings, settings.topics

    async def record(self, *facts: Fact) -> None:
        await write_facts(self.kafka, self.topics.lock_facts, self.settings.partitions, facts)

    async def events(self) -> list[Event]:
        return [decode_event(r.value or b"") for r in await self.event_records()]

    async def event_records(self) -> list[Record]:
        return await read_all(self.kafka, self.topics.lock_events, self.settings.partitions)

    async def parked(self) -> list[Record]:
        return await read_all(self.kafka, self.topics.parked_facts, self.settings.partitions)

    async def until_events(self, count: int) -> list[Event]:
        async def enough() -> bool:
            return len(await self.events()) >= count

        await eventually(enough)
        return await self.events()


@pytest.fixture
async def log(kafka: Kafka, settings: Settings) -> Log:
    await install(kafka, settings)
    return Log(kafka, settings)


async def test_every_fact_becomes_one_event_with_a_gapless_version(log: Log) -> None:
    locks = range(1, 8)
    await log.record(*(lock_created(n) for n in locks))
    await log.record(*(temp_key_used(n, f"key-{i % 2}") for i in range(20) for n in locks))
    async with running(run_projector, log.settings):
        events = await log.until_events(7 * 21)
    for n in locks:
        mine = [e for e in events if e.lock_id == n]
        assert [e.version for e in mine] == list(range(1, 22))
        uses = [e for e in mine if isinstance(e, TempKeyUsedEvent)]
        for key in ("key-0", "key-1"):
            counts = [e.data.used_count for e in uses if e.data.temp_key_uuid == key]
            assert counts == list(range(1, 11))


async def test_headers_say_all_that_routing_needs(log: Log) -> None:
    fact = temp_key_used(user_id="u")
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await log.record(lock_created())
    partition = partition_of(7, log.settings.partitions)
    offset = await write_raw(
        log.kafka,
        log.topics.lock_facts,
        partition,
        b"7",
        encode_fact(fact),
        (("traceparent", trace),),
    )
    async with running(run_projector, log.settings):
        await log.until_events(2)
    record = (await log.event_records())[-1]
    assert record.key == lock_key(7)
    assert record.partition == partition
    assert EventHeaders.from_kafka(record.headers) == EventHeaders(
        str(fact.event_id), "TempKeyUsed", "acme", 2, offset, trace
    )


async def test_a_repeated_event_id_is_dropped_for_ever(log: Log) -> None:
    first = temp_key_used()
    await log.record(lock_created(), first, first, temp_key_used(), first)
    async with running(run_projector, log.settings):
        await log.until_events(3)
    await log.record(first, temp_key_used())
    async with running(run_projector, log.settings):
        await log.until_events(4)
    (log.settings.state_dir / "read_model.db").unlink()
    await log.record(first, temp_key_used())
    async with running(run_projector, log.settings):
        events = await log.until_events(5)
    assert [e.version for e in events] == [1, 2, 3, 4, 5]
    assert [e.event_id for e in events].count(first.event_id) == 1
    assert await log.parked() == []


async def test_a_fact_that_cannot_become_an_event_is_parked_and_delays_nobody(log: Log) -> None:
    partitions = log.settings.partitions
    home = partition_of(7, partitions)
    foreign = next(n for n in range(8, 100) if partition_of(n, partitions) != home)
    good = encode_fact(temp_key_used())
    poison: list[tuple[bytes | None, bytes | None, str]] = [
        (b"7", b"\xffnot json", "undecodable"),
        (b"7", None, "undecodable"),
        (b"7", good.replace(b"TempKeyUsed", b"DoorEaten"), "undecodable"),
        (b"7", b'{"type":"TempKeyUsed"}', "undecodable"),
        (b"7", b"x" * 1_048_000, "undecodable"),
        (b"8", good, "key-mismatch"),
        (None, good, "key-mismatch"),
        (b"07", good, "key-mismatch"),
        (b"%d" % foreign, encode_fact(temp_key_used(foreign)), "wrong-partition"),
        (b"7", encode_fact(lock_created()), "lock-exists"),
        (b"7", encode_fact(temp_key_used(org_id="thief")), "organization-mismatch"),
    ]
    await log.record(lock_created())
    for key, value, _ in poison:
        await write_raw(
            log.kafka, log.topics.lock_facts, home, key, value, (("their-own", b"\xff"),)
        )
    stranger = next(n for n in range(8, 100) if partition_of(n, partitions) == home)
    twin = lock_created(stranger, lock_uuid=LOCK_UUID)
    await log.record(twin, temp_key_used(stranger), temp_key_used())
    async with running(run_projector, log.settings):
        events = await log.until_events(2)
    assert [e.version for e in events] == [1, 2]
    parked = await log.parked()
    headers = [ParkedHeaders.from_kafka(record.headers) for record in parked]
    assert [h.reason for h in headers] == [
        *(reason for *_, reason in poison),
        "uuid-taken",
        "unknown-lock",
    ]
    assert [(r.key, r.value) for r in parked[:-2]] == [(key, value) for key, value, _ in poison]
    assert all(r.headers[0] == ("their-own", b"\xff") for r in parked[:-2])
    assert [h.source_offset for h in headers] == list(range(1, len(poison) + 3))


async def test_parked_facts_are_not_parked_again_after_a_restart(log: Log) -> None:
    await log.record(temp_key_used())
    async with running(run_projector, log.settings):
        await eventually(lambda: _has(log, 1))
    async with running(run_projector, log.settings):
        await log.record(lock_created())
        await log.until_events(1)
    assert len(await log.parked()) == 1


async def _has(log: Log, parked: int) -> bool:
    return len(await log.parked()) == parked


async def test_a_projector_that_is_abandoned_anywhere_repeats_and_loses_nothing(log: Log) -> None:
    await log.record(lock_created())
    total = 400
    await log.record(*(temp_key_used(event_id=uuid4()) for _ in range(total)))
    for count in (1, 50, 200, 300):
        async with running(run_projector, log.settings) as projector:
            await log.until_events(min(count, total))
            await projector.abandon()
        await log.record(temp_key_used())
    async with running(run_projector, log.settings):
        events = await log.until_events(total + 5)
    assert [e.version for e in events] == list(range(1, total + 6))
    assert len({e.event_id for e in events}) == total + 5


async def test_two_projectors_share_the_partitions_and_take_over_from_each_other(log: Log) -> None:
    locks = range(1, 13)
    group, partitions = log.topics.group("projector"), log.settings.partitions
    await log.record(*(lock_created(n) for n in locks))
    async with running(run_projector, log.settings) as first:
        await log.until_events(12)
        async with running(run_projector, log.settings):
            await eventually(lambda: shares(log.kafka, group, 2, partitions))
            await log.record(*(temp_key_used(n) for n in locks))
            await log.until_events(24)
            await first.stop()
            await eventually(lambda: shares(log.kafka, group, 1, partitions))
            await log.record(*(temp_key_used(n) for n in locks))
            events = await log.until_events(36)
    for n in locks:
        assert [e.version for e in events if e.lock_id == n] == [1, 2, 3]


async def test_the_read_model_equals_the_fold_of_the_stream(
    log: Log, read_model: ReadModel, request: pytest.FixtureRequest
) -> None:
    url = read_model._database._url.render_as_string(hide_password=False)
    settings = msgspec.structs.replace(log.settings, read_model_url=url)
    await log.record(
        lock_created(), temp_key_used(), organization_set(), temp_key_used(org_id=None)
    )
    async with running(run_projector, settings):
        await log.until_events(4)
    home = partition_of(7, settings.partitions)
    row, position = await read_model.lock(7, home)
    assert row is not None
    assert (row.version, row.org_id) == (4, "other")
    records = await log.event_records()
    assert position.next_offset == records[-1].offset + 1
    stored, _ = await read_model.events_of(7, home, "acme", 0, 10)
    assert [s.value for s in stored] == [r.value for r in records[:2]]
    known = await read_model.known(home, [], [(7, "key-1")], [], [])
    assert known.used_counts == {(7, "key-1"): 2}


async def test_a_read_model_whose_file_is_gone_is_rebuilt(log: Log) -> None:
    await log.record(lock_created(), temp_key_used())
    async with running(run_projector, log.settings):
        await log.until_events(2)
    (log.settings.state_dir / "read_model.db").unlink()
    async with running(run_projector, log.settings):
        model = open_read_model(log.settings)
        await model.prepare()
        home = partition_of(7, log.settings.partitions)

        async def rebuilt() -> bool:
            row, _ = await model.lock(7, home)
            return row is not None and row.version == 2

        await eventually(rebuilt)
        await model.close()


async def test_a_read_model_that_is_emptied_under_way_corrupts_no_decision(log: Log) -> None:
    """A rebuild while facts come: versions and counts go on as if nothing had happened."""
    others = [n for n in range(100, 200) if partition_of(n, log.settings.partitions) == 0][:5]
    await log.record(*(lock_created(n) for n in others))
    await log.record(*(temp_key_used(n) for n in others))
    async with running(run_projector, log.settings):
        await log.until_events(10)
    async with running(run_projector, log.settings):
        await log.record(lock_created(7))
        await log.until_events(11)
        model = open_read_model(log.settings)
        await model.prepare()
        for round_ in range(3):
            await model.reset()
            await log.record(*(temp_key_used(n) for n in others))
            await log.until_events(11 + 5 * (round_ + 1))
        await model.close()
    events = await log.events()
    assert await log.parked() == []
    for n in others:
        uses = [e for e in events if e.lock_id == n and isinstance(e, TempKeyUsedEvent)]
        assert [e.version for e in uses] == [2, 3, 4, 5]
        assert [e.data.used_count for e in uses] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00", "0999-01-01T00:00:00Z"]
)
async def test_a_time_at_the_edge_of_the_calendar_stops_nobody(log: Log, time: str) -> None:
    odd = msgspec.structs.replace(temp_key_used(), occurred_at=time)
    await log.record(lock_created(), odd, temp_key_used())
    async with running(run_projector, log.settings):

        async def all_decided() -> bool:
            return len(await log.events()) + len(await log.parked()) == 3

        await eventually(all_decided)
    for event in await log.events():
        assert len(event.occurred_at) == 24


async def test_a_control_character_in_a_parked_fact_blocks_no_folding(
    log: Log, read_model: ReadModel
) -> None:
    url = read_model._database._url.render_as_string(hide_password=False)
    settings = msgspec.structs.replace(log.settings, read_model_url=url)
    nul = encode_fact(temp_key_used()).replace(b'"data":{', b'"data":{"a\\u0000b":1,')
    home = partition_of(7, settings.partitions)
    await write_raw(log.kafka, log.topics.lock_facts, home, b"7", nul)
    await log.record(lock_created())
    async with running(run_projector, settings):

        async def folded() -> bool:
            return bool(await read_model.known_lock_ids([7]))

        await eventually(folded)
    parked = ParkedHeaders.from_kafka((await log.parked())[0].headers)
    assert "\\u0000" in parked.detail


async def test_a_read_model_of_another_log_stops_the_partition(
    log: Log, logged_errors: list[str], kafka: Kafka
) -> None:
    await log.record(lock_created(), temp_key_used())
    async with running(run_projector, log.settings):
        await log.until_events(2)
    other = msgspec.structs.replace(log.settings, topic_prefix=log.settings.topic_prefix + "b-")
    await install(kafka, other)
    async with running(run_projector, other):
        await eventually(lambda: _said(logged_errors, "run `lockstream rebuild`"))
    logged_errors.clear()


async def _said(lines: list[str], text: str) -> bool:
    return any(text in line for line in lines)


async def test_a_foreign_record_in_the_stream_stops_its_partition_and_no_other(
    log: Log, logged_errors: list[str]
) -> None:
    partitions = log.settings.partitions
    home = partition_of(7, partitions)
    other = next(n for n in range(8, 100) if partition_of(n, partitions) != home)
    await log.record(lock_created(), lock_created(other))
    async with running(run_projector, log.settings):
        await log.until_events(2)
    forged = used_event(version=9)
    headers = EventHeaders(str(forged.event_id), "TempKeyUsed", "acme", 9, 500)
    await write_raw(
        log.kafka,
        log.topics.lock_events,
        home,
        b"7",
        encode_event(forged),
        headers.to_kafka(),
    )
    async with running(run_projector, log.settings):
        await eventually(lambda: _said(logged_errors, "lock 7 is at version 1"))
        await log.record(temp_key_used(), temp_key_used(other))
        await log.until_events(4)
    assert [e.lock_id for e in await log.events()].count(7) == 2
    logged_errors.clear()


async def test_facts_deleted_before_they_were_processed_stop_the_partition(
    log: Log, logged_errors: list[str]
) -> None:
    await log.record(lock_created())
    async with running(run_projector, log.settings):
        await log.until_events(1)
    await log.record(temp_key_used(), temp_key_used(), temp_key_used())
    await _delete_before(log, offset=3)
    async with running(run_projector, log.settings):
        await eventually(lambda: _said(logged_errors, "2 records were never processed"))
    logged_errors.clear()


async def test_events_deleted_before_they_were_folded_stop_the_partition(
    log: Log, logged_errors: list[str]
) -> None:
    await log.record(lock_created(), temp_key_used())
    async with running(run_projector, log.settings):
        await log.until_events(2)
    (log.settings.state_dir / "read_model.db").unlink()
    await _delete_before(log, offset=1, topic=log.topics.lock_events)
    async with running(run_projector, log.settings):
        await eventually(lambda: _said(logged_errors, "the events between are gone"))
    logged_errors.clear()


async def test_duplicates_deleted_by_retention_stop_nothing(log: Log) -> None:
    fact = temp_key_used()
    await log.record(lock_created(), fact, fact, fact)
    async with running(run_projector, log.settings):
        await log.until_events(2)
    await _delete_before(log, offset=4)
    async with running(run_projector, log.settings):
        await log.record(temp_key_used())
        assert [e.version for e in await log.until_events(3)] == [1, 2, 3]


async def _delete_before(log: Log, offset: int, topic: str = "") -> None:
    home = partition_of(7, log.settings.partitions)
    await delete_records(log.kafka, topic or log.topics.lock_facts, home, offset)


@pytest.mark.parametrize("more", [1, -1])
async def test_another_partition_count_is_refused(log: Log, more: int) -> None:
    wrong = msgspec.structs.replace(log.settings, partitions=log.settings.partitions + more)
    with pytest.raises(PartitionsChanged, match="LOCKSTREAM_PARTITIONS"):
        await install(log.kafka, wrong)


async def test_a_fenced_projector_restores_and_goes_on_by_itself(log: Log) -> None:
    home = partition_of(7, log.settings.partitions)
    await log.record(lock_created())
    async with running(run_projector, log.settings):
        await log.until_events(1)
        thief = await TransactionalWriter.fence(
            log.kafka, lane_id(log.topics.projector_group, home % 2)
        )
        await log.record(temp_key_used(), temp_key_used())
        assert [e.version for e in await log.until_events(3)] == [1, 2, 3]
        await thief.discard()


class SlowToAnswer(ReadModel):
    """Its answers are as old as the time that they take."""

    def meanwhile(self, happens: Callable[[], None]) -> None:
        self._happens = happens

    async def known(
        self,
        partition: int,
        lock_ids: Sequence[int],
        temp_keys_used: Sequence[tuple[int, str]],
        event_ids: Sequence[UUID],
        lock_uuids: Sequence[UUID],
    ) -> Known:
        answer = await super().known(partition, lock_ids, temp_keys_used, event_ids, lock_uuids)
        self._happens()
        return answer


async def alone(settings: Settings, model: ReadModel, number: int) -> ProjectorPartition:
    """A partition that has restored as far as the model goes."""
    readiness = Readiness()
    metrics = ProjectorMetrics(readiness, lambda: ())
    queue = FoldQueue(model, readiness, metrics)
    projector = Projector(settings.topics, model, queue, LockUuids(), metrics)
    partition = projector.make_partition(number, lambda error: pytest.fail(str(error)))
    await partition._model.begin()
    return partition


async def test_a_fold_that_ends_during_a_look_up_is_not_taken_for_a_rebuild(
    settings: Settings,
) -> None:
    model = SlowToAnswer(Database(read_model_url(settings), 5.0), settings.topics)
    await model.prepare()
    fact = temp_key_used(1)
    number = partition_of(1, settings.partitions)
    partition = await alone(settings, model, number)
    folded = CommittedEvent(6, 3, used_event(1), b"")
    model.meanwhile(lambda: partition._model.folded(1, Stretch(number, 0, 7, events=[folded])))
    record = Record(number, 5, 0, lock_key(1), encode_fact(fact), ())
    assert (await partition.process([record])).taken == 1
    await model.close()


async def test_nothing_is_decided_by_a_model_that_was_emptied_or_has_gone_back(
    settings: Settings,
) -> None:
    """Emptied, it has another generation; put back from a copy of before, it has the same."""
    model = open_read_model(settings)
    await model.prepare()
    number = partition_of(1, settings.partitions)
    record = Record(number, 5, 0, lock_key(1), encode_fact(temp_key_used(1)), ())
    partition = await alone(settings, model, number)
    assert (await partition.process([record])).taken == 1
    folded = CommittedEvent(6, 3, used_event(1), b"")
    partition._model.folded(1, Stretch(number, 0, 7, events=[folded]))
    another = Record(number, 6, 0, lock_key(1), encode_fact(temp_key_used(1, "other")), ())
    with pytest.raises(ReadModelMoved, match="has gone back to 0"):
        await partition.process([another])
    partition = await alone(settings, model, number)
    await model.reset()
    with pytest.raises(ReadModelMoved, match="was emptied or replaced"):
        await partition.process([record])
    await model.close()


async def test_a_replica_paused_inside_its_fold_holds_up_no_takeover(
    log: Log,
) -> None:
    model = open_read_model(log.settings)
    await model.prepare()
    await model.close()
    await log.record(lock_created(1), *(temp_key_used(1) for _ in range(5)))
    async with running(run_projector, log.settings):
        await log.until_events(6)
    # As a process would that was stopped between BEGIN and COMMIT.
    paused = sqlite3.connect(log.settings.state_dir / "read_model.db", isolation_level=None)
    paused.execute("BEGIN IMMEDIATE")
    await log.record(*(temp_key_used(1) for _ in range(5)))
    async with running(run_projector, log.settings):
        await log.until_events(11)
    await log.record(*(temp_key_used(1) for _ in range(5)))
    async with running(run_projector, log.settings):
        events = await log.until_events(16)
        assert [event.version for event in events] == list(range(1, 17))
        paused.execute("ROLLBACK")
        paused.close()

        async def folded() -> bool:
            row, _ = await model.lock(1, partition_of(1, log.settings.partitions))
            return row is not None and row.version == 16

        await eventually(folded)
    await model.close()
