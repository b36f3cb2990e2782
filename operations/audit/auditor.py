"""Audits everything, one partition after the other. Memory grows by 8 bytes an event and a lock,
and by the locks and temp keys of one partition."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping

import msgspec

from eventlog.kafka import Kafka
from eventlog.log_reader import LogReader
from operations.audit.event_ids import EventIds
from operations.audit.parked_audit import ParkedAudit
from operations.audit.partition_audit import Advance, Dropped, PartitionAudit
from operations.audit.plan import Plan, make_plan
from operations.audit.read_model_audit import ReadModelAudit
from operations.audit.repeated import Repeated
from operations.audit.violations import Violation
from read_model.rows import Position
from read_model.store import ReadModel
from read_model.tables import LOCK_EVENTS
from runtime.settings import Settings

FILLED_S = 5.0
"""Seconds in which a projector that runs begins to fill an empty read model."""
LOOK_S = 0.25


class Counted(msgspec.Struct):
    """Counts what an audit has seen. ``duplicates``: facts that were dropped as such. ``lag``: by
    partner, events that it is entitled to and has not got yet, which is no violation."""

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
        """Reads the registry, and notes what of each topic is to be read.

        Raises:
            KafkaUnavailable: the broker can't be reached in time.
        """
        return await make_plan(self._kafka, self._settings)

    async def run(self, plan: Plan, advance: Advance) -> AsyncIterator[Violation]:
        """Yields every violation as it is found. ``advance`` takes counts of ``lock-events``
        offsets.

        Raises:
            KafkaUnavailable: the log can't be read.
            PositionLost: retention has deleted facts that were still to be read.
            ReadModelUnavailable: the database can't be asked.
        """
        ids, lock_uuids = EventIds(), EventIds()
        dropped: dict[int, list[Dropped]] = {}
        positions = await self._read_model.positions(LOCK_EVENTS)
        for partition in self._settings.topics.numbers:
            audit = PartitionAudit(self._kafka, self._settings, plan, partition, ids, lock_uuids)
            folded_to = positions.get(partition, Position()).next_offset
            model = ReadModelAudit(
                self._read_model, self._settings.topics.lock_events, partition, folded_to
            )
            async for violation in audit.run(model, advance):
                yield violation
            parked = ParkedAudit(
                self._kafka, self._read_model, self._settings.topics.parked_facts, partition
            )
            async for violation in parked.run(plan.parked.end[partition]):
                yield violation
            dropped[partition] = audit.dropped
            for partner_id, lag in audit.lag.items():
                self.counted.lag[partner_id] = self.counted.lag.get(partner_id, 0) + lag
        self.counted.events = len(ids)
        for violation in self._passed_over(ids, dropped):
            yield violation
        async for violation in self._repeated(plan, ids.suspects(), lock_uuids.suspects()):
            yield violation
        if self.counted.events and (empty := await self._left_empty(positions)) is not None:
            yield empty

    async def _left_empty(self, positions: Mapping[int, Position]) -> Violation | None:
        """Finds a read model that was empty at the beginning and that no projector fills. A read
        model that is behind, or is being filled, is no violation."""
        deadline = asyncio.get_running_loop().time() + FILLED_S
        while not any(position.next_offset for position in positions.values()):
            if asyncio.get_running_loop().time() > deadline:
                detail = (
                    f"the read model is empty, and the stream holds {self.counted.events} events: "
                    "start the projector, which folds them in, or run `lockstream rebuild`"
                )
                return Violation(
                    "read-model-empty", self._settings.topics.lock_events, 0, 0, detail
                )
            await asyncio.sleep(LOOK_S)
            positions = await self._read_model.positions(LOCK_EVENTS)
        return None

    def _passed_over(self, ids: EventIds, dropped: dict[int, list[Dropped]]) -> list[Violation]:
        """Finds dropped facts whose event id no event has: they were lost, and no duplicates."""
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

    async def _repeated(
        self, plan: Plan, ids: Collection[int], lock_uuids: Collection[int]
    ) -> AsyncIterator[Violation]:
        """Finds event ids and lock UUIDs that occur twice, by a second look at the suspects."""
        if not ids and not lock_uuids:
            return
        topic = self._settings.topics.lock_events
        seen = Repeated(topic, ids, lock_uuids)
        async with LogReader.open(self._kafka) as reader:
            async for records in reader.read(topic, plan.events.begin, plan.events.end):
                for record in records:
                    for violation in seen.look_at(record):
                        yield violation
