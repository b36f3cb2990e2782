"""The whole audit: every partition, one after the other; memory grows by 8 bytes an event and by
the locks of one partition."""

from collections.abc import AsyncIterator

import msgspec

from lockstream.audit.event_ids import EventIds, hash_id
from lockstream.audit.partition_audit import Advance, Dropped, PartitionAudit
from lockstream.audit.plan import Plan, make_plan
from lockstream.audit.read_model_audit import ReadModelAudit
from lockstream.audit.violations import Violation
from lockstream.eventlog.kafka import Kafka
from lockstream.eventlog.log_reader import LogReader
from lockstream.eventlog.registry import read_registry
from lockstream.read_model.rows import Position
from lockstream.read_model.store import ReadModel
from lockstream.read_model.tables import LOCK_EVENTS
from lockstream.runtime.settings import Settings
from lockstream.schemas.lock_events import EventHeaders


class Counted(msgspec.Struct):
    """``duplicates``: facts that were dropped as such; ``lag``: events that partners are entitled
    to and have not got yet, which is no violation."""

    events: int = 0
    duplicates: int = 0
    lag: dict[str, int] = msgspec.field(default_factory=dict)


class Auditor:
    def __init__(self, kafka: Kafka, settings: Settings, read_model: ReadModel) -> None:
        self._kafka = kafka
        self._settings = settings
        self._read_model = read_model
        self.counted = Counted()

    async def plan(self) -> Plan:
        """
        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        registry = await read_registry(self._kafka, self._settings.topics.registry)
        return await make_plan(self._kafka, self._settings, registry)

    async def run(self, plan: Plan, advance: Advance) -> AsyncIterator[Violation]:
        """Every violation, as it is found. ``advance``: offsets of ``lock-events`` gone over.

        Raises:
            KafkaUnavailable: the log can't be read.
            ReadModelUnavailable: the database can't be asked.
        """
        ids = EventIds()
        dropped: dict[int, list[Dropped]] = {}
        positions = await self._read_model.positions(LOCK_EVENTS)
        for partition in range(self._settings.partitions):
            audit = PartitionAudit(self._kafka, self._settings, plan, partition, ids)
            folded_to = positions.get(partition, Position()).next_offset
            model = ReadModelAudit(
                self._read_model, self._settings.topics.lock_events, partition, folded_to
            )
            async for violation in audit.run(model, advance):
                yield violation
            dropped[partition] = audit.dropped
            for partner_id, lag in audit.lag.items():
                self.counted.lag[partner_id] = self.counted.lag.get(partner_id, 0) + lag
        self.counted.events = len(ids)
        for violation in self._passed_over(ids, dropped):
            yield violation
        async for violation in self._repeated(plan, ids):
            yield violation

    def _passed_over(self, ids: EventIds, dropped: dict[int, list[Dropped]]) -> list[Violation]:
        """Dropped facts whose event id no event has: they were lost, not repeated."""
        found: list[Violation] = []
        for partition, facts in dropped.items():
            missing = set(ids.missing([fact.event_id for fact in facts]))
            self.counted.duplicates += len(facts) - len(missing)
            found.extend(
                Violation(
                    "fact-passed-over",
                    self._settings.topics.lock_facts,
                    partition,
                    fact.offset,
                    f"fact {fact.event_id} became neither an event nor a parked record",
                )
                for fact in facts
                if fact.event_id in missing
            )
        return found

    async def _repeated(self, plan: Plan, ids: EventIds) -> AsyncIterator[Violation]:
        """Event ids that stand in the stream more than once: only suspects are looked at again."""
        suspects = ids.suspects()
        if not suspects:
            return
        topic = self._settings.topics.lock_events
        seen: dict[str, str] = {}
        async with LogReader.open(self._kafka) as reader:
            async for records in reader.read(topic, plan.events.begin, plan.events.end):
                for record in records:
                    try:
                        event_id = EventHeaders.from_kafka(record.headers).event_id
                    except (ValueError, UnicodeDecodeError):
                        continue
                    if hash_id(event_id) not in suspects:
                        continue
                    place = f"{topic}[{record.partition}] offset {record.offset}"
                    if event_id in seen:
                        detail = f"event {event_id} stands at {seen[event_id]} already"
                        yield Violation(
                            "duplicate-event-id", topic, record.partition, record.offset, detail
                        )
                    seen.setdefault(event_id, place)
