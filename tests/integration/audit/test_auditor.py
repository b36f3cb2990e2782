"""Each check of the auditor, shown by planting the fault that it looks for in a real topic."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import delete, update

from lockstream.audit import auditor
from lockstream.audit.auditor import Auditor, Counted
from lockstream.audit.event_ids import EventIds
from lockstream.audit.violations import Violation
from lockstream.eventlog.kafka import Kafka
from lockstream.fanout.role import run_fanout
from lockstream.projector.role import run_projector
from lockstream.read_model.store import ReadModel
from lockstream.read_model.tables import events as events_table
from lockstream.read_model.tables import locks as locks_table
from lockstream.read_model.tables import parked as parked_table
from lockstream.read_model.tables import temp_keys as temp_keys_table
from lockstream.runtime.errors import Unavailable
from lockstream.runtime.settings import Settings
from lockstream.schemas.lock_events import (
    EventHeaders,
    TempKeyUsedEvent,
    decode_event,
    encode_event,
)
from lockstream.schemas.lock_facts import Fact, encode_fact
from lockstream.schemas.partner_events import (
    encode_envelope,
    envelope,
    partner_headers,
)
from lockstream.schemas.topics import lock_key, partition_of
from tests.examples_of import lock_created, temp_key_used, used_event
from tests.integration.conftest import PARTITIONS, open_read_model
from tests.integration.kafka_tools import eventually, read_all, write_facts, write_raw
from tests.integration.roles import add_partner, install, running

PARTNER = "crm"


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

    async def kinds(self) -> set[str]:
        return {violation.kind for violation in await self.violations()}

    async def plant_event(
        self, event: TempKeyUsedEvent, source_offset: int, partition: int | None = None
    ) -> None:
        headers = EventHeaders(
            str(event.event_id), "TempKeyUsed", event.org_id, event.version, source_offset
        )
        await write_raw(
            self.kafka,
            self.topics.lock_events,
            self.home if partition is None else partition,
            lock_key(event.lock_id),
            encode_event(event),
            headers.to_kafka(),
        )

    async def plant_delivery(self, source_offset: int, sequence: int, version: int = 2) -> None:
        record = envelope(used_event(version=version), PARTNER)
        await write_raw(
            self.kafka,
            self.topics.partner_events(PARTNER),
            self.home,
            b"7",
            encode_envelope(record),
            partner_headers(record, source_offset=source_offset, sequence=sequence),
        )


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
            return (len(delivered), len(parked)) == (3, 1)

        await eventually(done)
    read_model = open_read_model(settings)
    await read_model.prepare()
    yield Audited(kafka, settings, read_model)
    await read_model.close()


async def test_a_sound_history_has_no_violation(audited: Audited) -> None:
    assert await audited.violations() == []
    assert (audited.counted.events, audited.counted.duplicates) == (3, 1)
    assert audited.counted.lag == {PARTNER: 0}


async def test_a_running_system_has_no_violation(audited: Audited) -> None:
    async with running(run_projector, audited.settings), running(run_fanout, audited.settings):
        for _ in range(3):
            await write_facts(
                audited.kafka,
                audited.topics.lock_facts,
                audited.settings.partitions,
                [temp_key_used() for _ in range(50)],
            )

            async def is_sound() -> bool:
                try:
                    found = await audited.violations()
                except Unavailable:
                    # It was written into too fast, and says so.
                    return False
                assert found == []
                return True

            await eventually(is_sound)


async def test_a_version_gap_is_found(audited: Audited) -> None:
    await audited.plant_event(used_event(version=9, used_count=3), 100)
    found = await audited.violations()
    assert {"version-gap", "event-without-fact"} == {v.kind for v in found}
    gap = next(v for v in found if v.kind == "version-gap")
    last = (await read_all(audited.kafka, audited.topics.lock_events, audited.settings.partitions))[
        -1
    ]
    assert (gap.topic, gap.partition, gap.offset) == (
        audited.topics.lock_events,
        audited.home,
        last.offset,
    )
    assert gap.detail == "lock 7: version 9 after 3"


async def test_a_repeated_version_is_found(audited: Audited) -> None:
    await audited.plant_event(used_event(version=3), 100)
    assert "version-repeated" in await audited.kinds()


async def test_a_repeated_event_id_is_found(audited: Audited) -> None:
    records = await read_all(audited.kafka, audited.topics.lock_events, audited.settings.partitions)
    first = decode_event(records[1].value or b"")
    await audited.plant_event(used_event(version=4, event_id=first.event_id), 100)
    found = [v for v in await audited.violations() if v.kind == "duplicate-event-id"]
    assert len(found) == 1
    assert str(first.event_id) in found[0].detail


async def test_a_lock_in_two_partitions_is_found(audited: Audited) -> None:
    other = (audited.home + 1) % audited.settings.partitions
    await audited.plant_event(used_event(version=1), 100, partition=other)
    assert "wrong-partition" in await audited.kinds()


async def test_two_locks_with_one_uuid_are_found_across_partitions(audited: Audited) -> None:
    other = next(n for n in range(8, 100) if partition_of(n, PARTITIONS) != audited.home)
    partition = partition_of(other, audited.settings.partitions)
    await audited.plant_event(used_event(lock_id=other, version=1), 100, partition=partition)
    found = [v for v in await audited.violations() if v.kind == "lock-uuid-shared"]
    assert len(found) == 1
    assert all(f"lock {lock} " in found[0].detail for lock in (7, other))


async def test_a_lock_whose_uuid_changes_is_found(audited: Audited) -> None:
    changed = msgspec.structs.replace(used_event(version=4, used_count=3), aggregate_id=UUID(int=5))
    await audited.plant_event(changed, 100)
    assert "lock-uuid-changed" in await audited.kinds()


async def test_a_count_of_uses_that_does_not_follow_is_found(audited: Audited) -> None:
    await audited.plant_event(used_event(version=4, used_count=9), 100)
    found = [v for v in await audited.violations() if v.kind == "used-count-wrong"]
    assert [v.detail for v in found] == ["lock 7, temp key key-1: usedCount 9 after 2"]


async def test_a_source_offset_that_does_not_increase_is_found(audited: Audited) -> None:
    await audited.plant_event(used_event(version=4), 1)
    assert "source-offset-not-increasing" in await audited.kinds()


async def test_a_foreign_record_in_the_stream_is_found(audited: Audited) -> None:
    await write_raw(audited.kafka, audited.topics.lock_events, audited.home, b"7", b"{}")
    assert await audited.kinds() == {"unreadable-record"}


async def test_a_fact_that_was_passed_over_is_found(audited: Audited) -> None:
    """Two facts after the history; the stream goes on with the second."""
    lost, kept = temp_key_used(), temp_key_used()
    offsets = [
        await write_raw(
            audited.kafka, audited.topics.lock_facts, audited.home, b"7", encode_fact(fact)
        )
        for fact in (lost, kept)
    ]
    await audited.plant_event(used_event(version=4, event_id=kept.event_id), offsets[1])
    found = [v for v in await audited.violations() if v.kind == "fact-passed-over"]
    assert [(v.topic, v.offset) for v in found] == [(audited.topics.lock_facts, offsets[0])]


async def test_an_event_without_its_fact_is_found(audited: Audited) -> None:
    offset = await write_raw(
        audited.kafka, audited.topics.lock_facts, audited.home, b"7", encode_fact(temp_key_used())
    )
    await audited.plant_event(used_event(version=4), offset)
    assert "event-without-fact" in await audited.kinds()


async def test_an_event_that_a_partner_missed_is_found(audited: Audited) -> None:
    await audited.plant_event(used_event(version=4), 100)
    await audited.plant_event(used_event(version=5), 101)
    records = await read_all(audited.kafka, audited.topics.lock_events, audited.settings.partitions)
    await audited.plant_delivery(records[-1].offset, sequence=4)
    assert {"partner-event-missing", "partner-event-altered"} <= await audited.kinds()


async def test_a_repeated_delivery_and_a_sequence_gap_are_found(audited: Audited) -> None:
    await audited.plant_delivery(source_offset=1, sequence=9)
    assert {"partner-event-foreign", "partner-sequence-gap"} == await audited.kinds()


async def test_a_foreign_record_in_a_partners_topic_is_found(audited: Audited) -> None:
    topic = audited.topics.partner_events(PARTNER)
    await write_raw(audited.kafka, topic, audited.home, b"7", b"not ours")
    assert await audited.kinds() == {"partner-event-foreign"}


async def test_what_a_partner_has_not_got_yet_is_lag_and_no_violation(audited: Audited) -> None:
    await write_facts(
        audited.kafka,
        audited.topics.lock_facts,
        audited.settings.partitions,
        [temp_key_used(), temp_key_used()],
    )
    async with running(run_projector, audited.settings):

        async def recorded() -> bool:
            topic, partitions = audited.topics.lock_events, audited.settings.partitions
            return len(await read_all(audited.kafka, topic, partitions)) == 5

        await eventually(recorded)
    assert await audited.violations() == []
    assert audited.counted.lag == {PARTNER: 2}


async def test_a_read_model_that_differs_is_found(audited: Audited) -> None:
    spoil = update(events_table).where(events_table.c.version == 2).values(value=b"{}")
    await audited.read_model._database.write(lambda connection: connection.execute(spoil))
    assert await audited.kinds() == {"read-model-differs"}


async def test_a_parked_fact_that_the_read_model_lacks_is_found(audited: Audited) -> None:
    await audited.read_model._database.write(lambda c: c.execute(delete(parked_table)))
    found = await audited.violations()
    assert [(v.kind, v.topic) for v in found] == [
        ("read-model-differs", audited.topics.parked_facts)
    ]


async def test_a_lock_that_the_read_model_has_wrong_is_found(audited: Audited) -> None:
    steal = update(locks_table).values(org_id="thief")
    await audited.read_model._database.write(lambda connection: connection.execute(steal))
    assert await audited.kinds() == {"read-model-differs"}


@pytest.mark.parametrize("wrong", [1, 3])
async def test_a_temp_key_that_the_read_model_has_counted_wrongly_is_found(
    audited: Audited, wrong: int
) -> None:
    recount = update(temp_keys_table).values(used_count=wrong)
    await audited.read_model._database.write(lambda connection: connection.execute(recount))
    found = await audited.violations()
    assert {v.kind for v in found} == {"read-model-differs"}
    assert any(f"it has {wrong} uses" in v.detail for v in found)


async def test_a_read_model_that_nobody_fills_is_said_once_to_be_empty(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "FILLED_S", 0.5)
    await audited.read_model.reset()
    found = await audited.violations()
    assert [v.kind for v in found] == ["read-model-empty"]
    assert "the stream holds 3 events" in found[0].detail


async def test_a_read_model_that_is_being_filled_again_is_no_violation(audited: Audited) -> None:
    await audited.read_model.reset()
    async with running(run_projector, audited.settings):
        assert await audited.violations() == []


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

    model = Emptied(audited.read_model._database, audited.settings.partitions)
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
