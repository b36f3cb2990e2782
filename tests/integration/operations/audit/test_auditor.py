"""Each check of the auditor, shown by planting the fault that it looks for in a real topic."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import get_args
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import Executable, delete, insert, update

from eventlog.kafka import Kafka
from eventlog.registry import read_registry, write_entries
from eventlog.topic_setup import delete_topic, topic_exists
from fanout.role import run_fanout
from operations.audit import auditor
from operations.audit import plan as plan_module
from operations.audit.auditor import Auditor, Counted
from operations.audit.event_ids import EventIds
from operations.audit.violations import Kind, Violation
from operations.shared.offset_ranges import OffsetRanges
from projector.role import run_projector
from read_model.rows import Position
from read_model.store import ReadModel
from read_model.tables import events as events_table
from read_model.tables import locks as locks_table
from read_model.tables import parked as parked_table
from read_model.tables import temp_keys as temp_keys_table
from runtime.errors import Unavailable
from runtime.settings import Settings
from schemas.lock_events import (
    EventHeaders,
    TempKeyUsedEvent,
    decode_event,
    encode_event,
)
from schemas.lock_facts import Fact, encode_fact
from schemas.partner_events import encode_envelope, envelope, partner_headers
from schemas.registry import Replay
from schemas.topics import lock_key, partition_of
from tests.examples_of import TIME, lock_created, temp_key_used, used_event
from tests.integration.conftest import PARTITIONS, open_read_model
from tests.integration.kafka_tools import (
    delete_records,
    eventually,
    positions_of,
    read_all,
    write_facts,
    write_raw,
)
from tests.integration.roles import add_partner, install, running

PARTNER = "crm"
SEQUENCE = 4
"""Of the partner's next record."""
PLANTED: set[Kind] = set()
"""What the tests of this module plant."""


class Audited:
    """A small, sound history, to which a test adds one fault."""

    def __init__(self, kafka: Kafka, settings: Settings, read_model: ReadModel) -> None:
        self.kafka, self.settings, self.topics = kafka, settings, settings.topics
        self.read_model = read_model
        self.home = partition_of(7, settings.partitions)
        self.counted = Counted()

    async def violations(self) -> list[Violation]:
        audit = Auditor(self.kafka, self.settings, self.read_model)
        plan = await audit.plan()
        found = [violation async for violation in audit.run(plan, lambda _: None)]
        self.counted = audit.counted
        return found

    async def found(self, kind: Kind) -> list[Violation]:
        return [violation for violation in await self.violations() if violation.kind == kind]

    async def plant_fact(self, fact: Fact) -> int:
        partition = partition_of(fact.lock_id, self.settings.partitions)
        key = lock_key(fact.lock_id)
        return await write_raw(
            self.kafka, self.topics.lock_facts, partition, key, encode_fact(fact)
        )

    async def plant_event(
        self,
        event: TempKeyUsedEvent,
        source_offset: int | None = None,
        partition: int | None = None,
    ) -> int:
        """With a fact of its own, unless it is to be another one's. Returns the event's offset."""
        home = partition_of(event.lock_id, self.settings.partitions)
        partition = home if partition is None else partition
        key = lock_key(event.lock_id)
        if source_offset is None:
            fact = encode_fact(temp_key_used(event.lock_id, event_id=event.event_id))
            source_offset = await write_raw(
                self.kafka, self.topics.lock_facts, partition, key, fact
            )
        headers = EventHeaders(
            str(event.event_id), "TempKeyUsed", event.org_id, event.version, source_offset
        )
        topic, value = self.topics.lock_events, encode_event(event)
        return await write_raw(self.kafka, topic, partition, key, value, headers.to_kafka())

    async def plant_delivery(
        self, event: TempKeyUsedEvent, source_offset: int, sequence: int = SEQUENCE
    ) -> None:
        record = envelope(event, PARTNER)
        topic = self.topics.partner_events(PARTNER)
        positions = await positions_of(self.kafka, self.topics.registry)
        position = positions.seal(topic, self.home, sequence, source_offset)
        await write_raw(
            self.kafka,
            topic,
            self.home,
            lock_key(event.lock_id),
            encode_envelope(record),
            partner_headers(record, position=position, sequence=sequence),
        )

    async def event_offsets(self) -> list[int]:
        partitions = self.settings.partitions
        records = await read_all(self.kafka, self.topics.lock_events, partitions)
        return [record.offset for record in records]

    async def spoil(self, statement: Executable) -> None:
        await self.read_model._database.write(lambda connection: connection.execute(statement))


def finds(
    *kinds: Kind,
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """For a test that plants a fault: these violations are found then, and no other kind."""

    def planting(plant: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        assert plant.__name__.startswith("test_"), "nobody would run it"
        PLANTED.update(kinds)

        @functools.wraps(plant)
        async def test(*, audited: Audited, **fixtures: object) -> None:
            await plant(audited=audited, **fixtures)
            assert {violation.kind for violation in await audited.violations()} == set(kinds)

        return test

    return planting


def test_every_violation_has_a_planted_fault() -> None:
    assert set(get_args(Kind)) == PLANTED


@pytest.fixture
async def audited(kafka: Kafka, settings: Settings) -> AsyncIterator[Audited]:
    await install(kafka, settings)
    await add_partner(kafka, settings, PARTNER, "acme")
    repeated = temp_key_used()
    thief = temp_key_used(org_id="thief")
    facts: list[Fact] = [lock_created(), repeated, repeated, thief, temp_key_used()]
    await write_facts(kafka, settings.topics.lock_facts, settings.partitions, facts)
    async with running(run_projector, settings), running(run_fanout, settings):

        async def done() -> bool:
            topics = settings.topics
            delivered = await read_all(kafka, topics.partner_events(PARTNER), settings.partitions)
            parked = await read_all(kafka, topics.parked_facts, settings.partitions)
            return (len(delivered), len(parked)) == (SEQUENCE - 1, 1)

        await eventually(done)
    read_model = open_read_model(settings)
    await read_model.prepare()
    yield Audited(kafka, settings, read_model)
    await read_model.close()


def next_use(version: int = 4, used_count: int = 3) -> TempKeyUsedEvent:
    """The event that could follow."""
    return used_event(version=version, used_count=used_count)


async def test_a_sound_history_has_no_violation(audited: Audited) -> None:
    assert await audited.violations() == []
    assert (audited.counted.events, audited.counted.duplicates) == (3, 1)
    assert audited.counted.lag == {PARTNER: 0}


async def test_a_running_system_has_no_violation(audited: Audited) -> None:
    """Audited three times to the end, while more is recorded and delivered."""
    topics, partitions = audited.topics, audited.settings.partitions

    async def sound_while_more_comes() -> bool:
        facts: list[Fact] = [temp_key_used() for _ in range(50)]
        await write_facts(audited.kafka, topics.lock_facts, partitions, facts)
        try:
            found = await audited.violations()
        except Unavailable:
            return False
        assert found == []
        return True

    async with running(run_projector, audited.settings), running(run_fanout, audited.settings):
        for _ in range(3):
            await eventually(sound_while_more_comes)


# -- the stream ------------------------------------------------------------------------------------


@finds("version-gap")
async def test_a_version_gap_is_found(audited: Audited) -> None:
    offset = await audited.plant_event(next_use(version=9))
    (gap,) = await audited.found("version-gap")
    place = (audited.topics.lock_events, audited.home, offset)
    assert (gap.topic, gap.partition, gap.offset) == place
    assert gap.detail == "lock 7: version 9 after 3"


@finds("version-repeated")
async def test_a_repeated_version_is_found(audited: Audited) -> None:
    await audited.plant_event(next_use(version=3))


@finds("duplicate-event-id")
async def test_a_repeated_event_id_is_found(audited: Audited) -> None:
    records = await read_all(audited.kafka, audited.topics.lock_events, audited.settings.partitions)
    first = decode_event(records[1].value or b"")
    again = msgspec.structs.replace(next_use(), event_id=first.event_id)
    await audited.plant_event(again)
    (found,) = await audited.found("duplicate-event-id")
    assert str(first.event_id) in found.detail


@finds("wrong-partition")
async def test_a_lock_in_two_partitions_is_found(audited: Audited) -> None:
    other = (audited.home + 1) % audited.settings.partitions
    await audited.plant_event(used_event(version=1), partition=other)


@finds("lock-uuid-shared")
async def test_two_locks_with_one_uuid_are_found_across_partitions(audited: Audited) -> None:
    other = next(n for n in range(8, 100) if partition_of(n, PARTITIONS) != audited.home)
    await audited.plant_event(used_event(lock_id=other, version=1))
    (found,) = await audited.found("lock-uuid-shared")
    assert all(f"lock {lock} " in found.detail for lock in (7, other))


@finds("lock-uuid-changed")
async def test_a_lock_whose_uuid_changes_is_found(audited: Audited) -> None:
    await audited.plant_event(msgspec.structs.replace(next_use(), aggregate_id=UUID(int=5)))


@finds("used-count-wrong")
async def test_a_count_of_uses_that_does_not_follow_is_found(audited: Audited) -> None:
    await audited.plant_event(next_use(used_count=9))
    (found,) = await audited.found("used-count-wrong")
    assert found.detail == "lock 7, temp key key-1: usedCount 9 after 2"


@finds("source-offset-not-increasing", "event-without-fact")
async def test_a_source_offset_that_does_not_increase_is_found(audited: Audited) -> None:
    await audited.plant_event(next_use(), source_offset=1)


@finds("unreadable-record")
async def test_a_foreign_record_in_the_stream_is_found(audited: Audited) -> None:
    await write_raw(audited.kafka, audited.topics.lock_events, audited.home, b"7", b"{}")


# -- facts -----------------------------------------------------------------------------------------


@finds("fact-passed-over")
async def test_a_fact_that_was_passed_over_is_found(audited: Audited) -> None:
    """The stream goes on with the fact after it."""
    lost = await audited.plant_fact(temp_key_used())
    await audited.plant_event(next_use())
    (found,) = await audited.found("fact-passed-over")
    assert (found.topic, found.offset) == (audited.topics.lock_facts, lost)


@finds("fact-passed-over")
async def test_a_fact_that_no_one_can_read_and_that_was_not_parked_is_found(
    audited: Audited,
) -> None:
    topic = audited.topics.lock_facts
    lost = await write_raw(audited.kafka, topic, audited.home, b"7", b"no fact")
    await audited.plant_event(next_use())
    (found,) = await audited.found("fact-passed-over")
    assert (found.topic, found.offset) == (topic, lost)


@finds("event-without-fact")
async def test_an_event_of_another_fact_is_found(audited: Audited) -> None:
    await audited.plant_event(next_use(), await audited.plant_fact(temp_key_used()))


@finds("event-without-fact")
async def test_an_event_without_its_fact_is_found(audited: Audited) -> None:
    await audited.plant_event(next_use(), source_offset=100)


# -- partners --------------------------------------------------------------------------------------


@finds("partner-event-missing")
async def test_an_event_that_a_partner_missed_is_found(audited: Audited) -> None:
    missed, delivered = next_use(), next_use(version=5, used_count=4)
    await audited.plant_event(missed)
    await audited.plant_delivery(delivered, await audited.plant_event(delivered))
    (found,) = await audited.found("partner-event-missing")
    assert str(missed.event_id) in found.detail


@finds("partner-event-altered")
async def test_a_delivery_that_says_otherwise_than_its_event_is_found(audited: Audited) -> None:
    offset = await audited.plant_event(next_use())
    await audited.plant_delivery(next_use(), offset)


@finds("partner-sequence-gap")
async def test_a_gap_in_a_partners_sequence_is_found(audited: Audited) -> None:
    event = next_use()
    await audited.plant_delivery(event, await audited.plant_event(event), sequence=9)


@finds("partner-event-foreign")
async def test_a_repeated_delivery_is_found(audited: Audited) -> None:
    event = next_use()
    offset = await audited.plant_event(event)
    for sequence in (SEQUENCE, SEQUENCE + 1):
        await audited.plant_delivery(event, offset, sequence)


@finds("partner-event-foreign")
async def test_a_foreign_delivery_between_two_that_are_right_is_found(audited: Audited) -> None:
    """Another organisation's event, which stands in the stream."""
    foreign, event = msgspec.structs.replace(next_use(), org_id="thief"), next_use(5, 4)
    await audited.plant_delivery(foreign, await audited.plant_event(foreign))
    await audited.plant_delivery(event, await audited.plant_event(event), SEQUENCE + 1)


@finds("partner-event-foreign")
async def test_a_foreign_record_in_a_partners_topic_is_found(audited: Audited) -> None:
    topic = audited.topics.partner_events(PARTNER)
    await write_raw(audited.kafka, topic, audited.home, b"7", b"not ours")


@finds("partner-event-foreign")
async def test_what_a_paused_partner_was_sent_is_audited_too(audited: Audited) -> None:
    partner = await add_partner(audited.kafka, audited.settings, PARTNER, "acme", status="paused")
    assert partner.status == "paused"
    topic = audited.topics.partner_events(PARTNER)
    await write_raw(audited.kafka, topic, audited.home, b"7", b"not ours")


async def test_what_a_removed_partner_was_sent_is_nobodys_any_more(audited: Audited) -> None:
    await add_partner(audited.kafka, audited.settings, PARTNER, "acme", status="removed")
    topic = audited.topics.partner_events(PARTNER)
    await write_raw(audited.kafka, topic, audited.home, b"7", b"not ours")
    assert await audited.violations() == []


async def test_what_retention_has_deleted_of_a_partners_topic_is_not_missing(
    audited: Audited,
) -> None:
    topic = audited.topics.partner_events(PARTNER)
    last = (await read_all(audited.kafka, topic, audited.settings.partitions))[-1]
    await delete_records(audited.kafka, topic, audited.home, last.offset)
    async with audited.kafka.offsets_client() as client:
        begins = await client.beginnings(topic, [audited.home])
    assert begins == {audited.home: last.offset}
    assert await audited.violations() == []
    assert audited.counted.lag == {PARTNER: 0}


async def replayed(audited: Audited) -> str:
    """The partner's events once more, as they should be; returns the topic."""
    partitions = audited.settings.partitions
    async with audited.kafka.offsets_client() as client:
        ends = await client.high_watermarks(audited.topics.lock_events, audited.topics.numbers)
    replay = Replay(
        partner_id=PARTNER,
        number=1,
        org_id="acme",
        types=("*",),
        start_offsets=(0,) * partitions,
        end_offsets=tuple(ends[p] for p in audited.topics.numbers),
        created_at=TIME,
    )
    await write_entries(audited.kafka, audited.topics.registry, [replay])

    async def has_ended() -> bool:
        registry = await read_registry(audited.kafka, audited.topics.registry)
        entry = registry.replay(PARTNER, 1)
        return entry is not None and entry.status == "ended"

    async with running(run_fanout, audited.settings):
        await eventually(has_ended)
    return audited.topics.partner_replay(PARTNER, 1)


async def test_a_replay_is_audited_and_is_nobodys_lag(audited: Audited) -> None:
    await replayed(audited)
    assert await audited.violations() == []
    assert audited.counted.lag == {PARTNER: 0}


async def test_what_retention_has_deleted_of_a_replay_is_not_missing(audited: Audited) -> None:
    topic = await replayed(audited)
    await delete_records(audited.kafka, topic, audited.home, 1)
    assert await audited.violations() == []
    for partition in audited.topics.numbers:
        await delete_records(audited.kafka, topic, partition)
    assert await audited.violations() == []


@finds("partner-event-foreign")
async def test_what_follows_the_end_of_a_replay_is_found(audited: Audited) -> None:
    topic = await replayed(audited)
    await write_raw(audited.kafka, topic, audited.home, b"7", b"not ours")


async def test_a_replay_whose_topic_is_gone_is_audited_no_more(audited: Audited) -> None:
    topic = await replayed(audited)
    await write_raw(audited.kafka, topic, audited.home, b"7", b"not ours")
    await delete_topic(audited.kafka, topic)

    async def is_gone() -> bool:
        return not await topic_exists(audited.kafka, topic)

    await eventually(is_gone)
    assert await audited.violations() == []


async def test_a_change_of_types_that_comes_meanwhile_is_known_to_the_audit(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a partner was sent by its new types may be in its topic before the plan has all ends."""
    ranges = plan_module._ranges
    now = await add_partner(audited.kafka, audited.settings, PARTNER, "acme")
    await add_partner(audited.kafka, audited.settings, PARTNER, "acme", types=("LockCreated",))
    assert await audited.found("partner-event-foreign")

    async def changed_first(kafka: Kafka, settings: Settings, topic: str) -> OffsetRanges:
        if topic == audited.topics.partner_events(PARTNER):
            await write_entries(kafka, audited.topics.registry, [now])
        return await ranges(kafka, settings, topic)

    monkeypatch.setattr(plan_module, "_ranges", changed_first)
    assert await audited.violations() == []


async def test_what_retention_has_deleted_of_the_facts_is_not_missing(audited: Audited) -> None:
    await delete_records(audited.kafka, audited.topics.lock_facts, audited.home, 4)
    assert await audited.violations() == []


async def test_what_a_partner_has_not_got_yet_is_lag_and_no_violation(audited: Audited) -> None:
    await write_facts(
        audited.kafka,
        audited.topics.lock_facts,
        audited.settings.partitions,
        [temp_key_used(), temp_key_used()],
    )
    async with running(run_projector, audited.settings):

        async def recorded() -> bool:
            return len(await audited.event_offsets()) == 5

        await eventually(recorded)
    assert await audited.violations() == []
    assert audited.counted.lag == {PARTNER: 2}


# -- the read model --------------------------------------------------------------------------------


@finds("read-model-differs")
async def test_an_event_that_the_read_model_has_otherwise_is_found(audited: Audited) -> None:
    spoil = update(events_table).where(events_table.c.version == 2)
    await audited.spoil(spoil.values(value=b"{}"))


@finds("read-model-differs")
async def test_an_event_that_the_read_model_lacks_is_found(audited: Audited) -> None:
    await audited.spoil(delete(events_table).where(events_table.c.version == 2))


@finds("read-model-differs")
async def test_a_parked_fact_that_the_read_model_lacks_is_found(audited: Audited) -> None:
    await audited.spoil(delete(parked_table))
    (found,) = await audited.violations()
    assert found.topic == audited.topics.parked_facts


@finds("read-model-differs")
async def test_a_lock_that_the_read_model_has_wrong_is_found(audited: Audited) -> None:
    await audited.spoil(update(locks_table).values(org_id="thief"))


@finds("read-model-differs")
async def test_a_lock_that_the_read_model_lacks_is_found(audited: Audited) -> None:
    await audited.spoil(delete(locks_table))
    details = {violation.detail for violation in await audited.violations()}
    assert details == {"read model: it has lock 7 at version 0, not 3"}


@finds("read-model-differs")
async def test_a_lock_that_the_read_model_has_too_early_is_found(audited: Audited) -> None:
    await audited.spoil(update(locks_table).values(version=2))
    details = {violation.detail for violation in await audited.violations()}
    assert details == {"read model: it has lock 7 at version 2, not 3"}


async def test_events_that_are_not_folded_yet_are_only_lag(audited: Audited) -> None:
    for version in (4, 5):
        await audited.plant_event(next_use(version=version, used_count=version - 1))
    assert await audited.violations() == []
    assert audited.counted.events == 5


@pytest.mark.parametrize("wrong", [1, 3])
@finds("read-model-differs")
async def test_a_temp_key_that_the_read_model_has_counted_wrongly_is_found(
    audited: Audited, wrong: int
) -> None:
    await audited.spoil(update(temp_keys_table).values(used_count=wrong))
    assert any(f"it has {wrong} uses" in v.detail for v in await audited.violations())


@finds("read-model-differs")
async def test_a_use_that_the_read_model_has_counted_for_another_temp_key_is_found(
    audited: Audited,
) -> None:
    """All uses of the lock are there."""
    await audited.spoil(update(temp_keys_table).values(used_count=1))
    other = {"lock_id": 7, "temp_key_uuid": "other", "used_count": 1}
    await audited.spoil(insert(temp_keys_table).values(**other))
    details = {violation.detail for violation in await audited.violations()}
    assert details == {"read model: it has 1 uses of temp key key-1 on lock 7, not 2"}


@finds("read-model-empty")
async def test_a_read_model_that_nobody_fills_is_said_once_to_be_empty(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "FILLED_S", 0.5)
    await audited.read_model.reset()
    (found,) = await audited.violations()
    assert "the stream holds 3 events" in found.detail


async def test_a_read_model_that_is_being_filled_again_is_no_violation(audited: Audited) -> None:
    await audited.read_model.reset()
    async with running(run_projector, audited.settings):
        assert await audited.violations() == []


async def test_a_read_model_that_somebody_begins_to_fill_is_not_empty(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_empty = asyncio.Event()

    class Asked(ReadModel):
        async def positions(self, stream: str) -> dict[int, Position]:
            found = await super().positions(stream)
            seen_empty.set()
            return found

    monkeypatch.setattr(auditor, "FILLED_S", 20.0)
    model = Asked(audited.read_model._database, audited.settings.topics)
    audited.read_model = model
    await model.reset()
    judging = asyncio.create_task(audited.violations())
    await seen_empty.wait()
    async with running(run_projector, audited.settings):
        assert await judging == []


async def test_a_read_model_that_is_emptied_while_it_is_audited_is_no_violation(
    audited: Audited,
) -> None:
    class Emptied(ReadModel):
        """Emptied after the auditor has seen how far it had come."""

        async def event_values(
            self, pairs: Sequence[tuple[int, int]]
        ) -> dict[tuple[int, int], bytes]:
            await self.reset()
            return await super().event_values(pairs)

    model = Emptied(audited.read_model._database, audited.settings.topics)
    audited.read_model = model
    assert await audited.violations() == []


def test_event_ids_are_found_again_among_many() -> None:
    ids = EventIds()
    for n in range(10_000):
        ids.add(str(UUID(int=n)))
    assert ids.suspects() == set()
    assert ids.missing([str(UUID(int=5)), str(UUID(int=10_001))]) == [str(UUID(int=10_001))]
    ids.add(str(UUID(int=77)))
    assert len(ids.suspects()) == 1
