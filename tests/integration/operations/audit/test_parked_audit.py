"""The parked facts of the read model beside those of the topic: each fault is planted in a real
model on both databases, or in a real topic."""

from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import ColumnElement, Executable, and_, delete, insert, update

from eventlog.kafka import Kafka
from operations.audit import parked_audit
from operations.audit.auditor import Auditor
from operations.audit.parked_audit import ParkedAudit
from operations.audit.violations import Violation
from projector.role import run_projector
from read_model.fold import ParkedFact, Stretch
from read_model.parked_questions import ParkedPage, ParkedQuestions
from read_model.rows import StoredParked
from read_model.store import ReadModel
from read_model.tables import LOCK_EVENTS
from read_model.tables import parked as parked_table
from read_model.tables import positions as positions_table
from runtime.errors import Unavailable
from runtime.settings import Settings
from schemas.parked_facts import ParkedHeaders
from tests.examples_of import TIME, lock_created, temp_key_used
from tests.integration.kafka_tools import (
    delete_records,
    end_of,
    eventually,
    open_transaction,
    read_all,
    write_facts,
    write_raw,
)
from tests.integration.roles import install, running

FACTS = 5
PARTITION = 1
EVENT_ID = UUID(int=7)


def headers_of(number: int) -> ParkedHeaders:
    """The first of them could not be read: it has no event id and no lock."""
    of_fact = (str(UUID(int=number)), 7, "acme") if number else (None, None, None)
    return ParkedHeaders("unknown-lock", "no\nlock", "lock-facts", 10 + number, TIME, *of_fact)


def here(offset: int) -> ColumnElement[bool]:
    return and_(parked_table.c.partition == PARTITION, parked_table.c.offset == offset)


class Parked:
    """Five parked facts in the topic, and in the model as a projector folds them."""

    def __init__(self, kafka: Kafka, settings: Settings, read_model: ReadModel) -> None:
        self.kafka, self.read_model = kafka, read_model
        self.topic = settings.topics.parked_facts
        self.end = 0

    async def park(self, headers: tuple[tuple[str, bytes], ...]) -> None:
        self.end = 1 + await write_raw(self.kafka, self.topic, PARTITION, b"7", b"{}", headers)

    async def fold(self, begin: int = 0) -> None:
        facts = [ParkedFact(n, headers_of(n)) for n in range(begin, FACTS)]
        await self.read_model.apply_parked([Stretch(PARTITION, begin, FACTS, parked=facts)])

    async def change(self, statement: Executable) -> None:
        await self.read_model._database.write(lambda connection: connection.execute(statement))

    async def move(self, stream: str, **position: int) -> None:
        of_stream = positions_table.c.stream == stream
        await self.change(update(positions_table).where(of_stream).values(**position))

    async def delete_before(self, offset: int) -> None:
        await delete_records(self.kafka, self.topic, PARTITION, offset)

    async def violations(self, kind: type[ParkedAudit] = ParkedAudit) -> list[Violation]:
        audit = kind(self.kafka, self.read_model, self.topic, PARTITION)
        return [violation async for violation in audit.run(self.end)]

    async def found(self) -> list[tuple[str, int]]:
        return [(v.kind, v.offset) for v in await self.violations()]


@pytest.fixture
async def parked(kafka: Kafka, settings: Settings, read_model: ReadModel) -> Parked:
    await install(kafka, settings)
    parked = Parked(kafka, settings, read_model)
    for number in range(FACTS):
        await parked.park((("of-the-fact", b"1"), *headers_of(number).to_kafka()))
    await parked.fold()
    return parked


async def test_a_parked_fact_that_the_read_model_lacks_is_found(parked: Parked) -> None:
    assert await parked.violations() == []
    await parked.change(delete(parked_table).where(here(2)))
    assert await parked.found() == [("read-model-differs", 2)]
    assert "does not hold this parked fact" in (await parked.violations())[0].detail


async def test_a_parked_fact_that_the_read_model_has_otherwise_is_found(parked: Parked) -> None:
    wrongs: list[dict[str, object]] = [
        {"event_id": uuid4().bytes},
        {"event_id": None},
        {"lock_id": 8},
        {"org_id": "thief"},
        {"reason": "lock-exists"},
        {"detail": "no lock"},
        {"source_offset": 99},
    ]
    right = msgspec.structs.asdict(StoredParked.of(headers_of(2)))
    for wrong in wrongs:
        await parked.change(update(parked_table).where(here(2)).values(**wrong))
        found = await parked.violations()
        assert [(v.kind, v.offset) for v in found] == [("read-model-differs", 2)], wrong
        assert "otherwise" in found[0].detail
        await parked.change(update(parked_table).where(here(2)).values(**right))


async def test_a_parked_fact_that_only_the_read_model_has_is_found(parked: Parked) -> None:
    parked.end = 1 + await _aborted(parked)
    for offset in (FACTS, 1_000):
        extra = {"partition": PARTITION, "offset": offset, "reason": "undecodable", "detail": ""}
        await parked.change(insert(parked_table).values(source_offset=3, **extra))
    found = await parked.violations()
    assert [(v.kind, v.offset) for v in found] == [
        ("read-model-differs", FACTS),
        ("read-model-differs", 1_000),
    ]
    assert "not in the topic" in found[0].detail
    assert "beyond the topic's end" in found[1].detail


async def _aborted(parked: Parked) -> int:
    """Offsets that hold no record for those who read committed ones; the last of them."""
    name = f"{parked.topic}-aborting"
    async with open_transaction(parked.kafka, name, parked.topic, PARTITION, b"{}") as producer:
        await producer.abort_transaction()
    return await end_of(parked.kafka, parked.topic, PARTITION) - 2


async def test_a_record_among_the_parked_facts_that_no_projector_wrote_is_found(
    parked: Parked,
) -> None:
    await parked.park(())
    assert await parked.found() == [("unreadable-record", FACTS)]


async def test_parked_facts_that_are_not_folded_yet_are_only_lag(parked: Parked) -> None:
    await parked.read_model.reset()
    assert await parked.violations() == []
    await parked.move(LOCK_EVENTS, next_offset=1, source_offset=10)
    assert await parked.violations() == []
    # Events that stood behind them are folded: lag does not explain it.
    await parked.move(LOCK_EVENTS, next_offset=1, source_offset=13)
    assert await parked.found() == [("read-model-differs", n) for n in range(3)]


async def test_rows_are_asked_for_page_by_page(
    parked: Parked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked_audit, "ROWS", 2)
    assert await parked.violations() == []
    await parked.change(delete(parked_table).where(here(1)))
    await parked.change(delete(parked_table).where(here(4)))
    assert await parked.found() == [("read-model-differs", 1), ("read-model-differs", 4)]


async def test_what_retention_has_deleted_the_read_model_may_have_or_not(parked: Parked) -> None:
    await parked.delete_before(3)
    assert await parked.violations() == []
    await parked.change(delete(parked_table).where(parked_table.c.offset < 3))
    assert await parked.violations() == []
    await parked.delete_before(FACTS)
    assert await parked.violations() == []


async def test_retention_between_two_questions_makes_no_violation(parked: Parked) -> None:
    class Later(ParkedQuestions):
        """Retention goes on after records were read, and before the model is asked."""

        async def page(self, partition: int, begin: int, end: int, count: int) -> ParkedPage:
            await parked.delete_before(3)
            return await super().page(partition, begin, end, count)

    model = parked.read_model
    model.parked = Later(model._database, model._topics)
    await parked.change(delete(parked_table).where(parked_table.c.offset < 3))
    assert await parked.violations() == []

    class Stale(ParkedAudit):
        """Retention goes on after the question where the topic begins, and before the reading."""

        begins = iter((0,))

        async def _beginning(self) -> int:
            for begin in self.begins:
                return begin
            return await super()._beginning()

    assert await parked.violations(Stale) == []
    await parked.change(delete(parked_table).where(here(4)))
    Stale.begins = iter((0,))
    assert [v.offset for v in await parked.violations(Stale)] == [4]


async def test_a_read_model_that_is_emptied_while_it_is_audited_has_no_violation(
    parked: Parked,
) -> None:
    class Emptied(ParkedQuestions):
        async def page(self, partition: int, begin: int, end: int, count: int) -> ParkedPage:
            await parked.read_model.reset()
            page = await super().page(partition, begin, end, count)
            await parked.fold()
            return page

    model = parked.read_model
    model.parked = Emptied(model._database, model._topics)
    assert await parked.violations() == []


async def test_a_running_system_that_parks_facts_has_no_violation(
    kafka: Kafka, settings: Settings, read_model: ReadModel
) -> None:
    """Retried, repeated and unreadable ones among them; audited while they are folded, while the
    model is rebuilt, and once all is done."""
    await install(kafka, settings)
    url = read_model._database._url.set(drivername=read_model._database._url.get_backend_name())
    own = msgspec.structs.replace(
        settings, read_model_url=url.render_as_string(hide_password=False)
    )
    auditor = Auditor(kafka, own, read_model)

    async def violations() -> list[Violation]:
        return [v async for v in auditor.run(await auditor.plan(), lambda _: None)]

    async def is_sound() -> bool:
        """Once it can be audited to the end."""
        try:
            found = await violations()
        except Unavailable:
            return False
        assert found == []
        return True

    topics, partitions = settings.topics, settings.partitions
    thief = temp_key_used(org_id="thief")
    async with running(run_projector, own):
        await write_facts(kafka, topics.lock_facts, partitions, [lock_created()])
        for turn in range(4):
            if turn == 2:
                await read_model.reset()
            facts = [temp_key_used(org_id="thief" if n % 3 else "acme") for n in range(40)]
            await write_facts(kafka, topics.lock_facts, partitions, [*facts, thief, thief])
            await write_raw(kafka, topics.lock_facts, 0, b"7", b"not a fact")
            await eventually(is_sound)

        async def folded() -> bool:
            parked = await read_all(kafka, topics.parked_facts, partitions)
            return len(parked) == await read_model.count_parked() == 4 * (26 + 2 + 1)

        await eventually(folded)
        assert await violations() == []
