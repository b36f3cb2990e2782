"""Judges, when the load has ended, whether every promise is kept."""

import asyncio
import time
from collections.abc import Mapping

import msgspec

from chaos.history import Broken, Logged, check_history, check_order, check_seen
from chaos.system import PARTITIONS, PARTNERS, System
from chaos.watcher import content_of
from eventlog.kafka import stable_ends
from eventlog.log_reader import LogReader
from eventlog.records import Record
from schemas.lock_events import TempKeyUsedEvent, decode_event

SETTLED_S = 60.0
VERIFY_S = 600.0
AGAIN_S = 1.0
MAY_BE_LAG = {"read-model-differs", "read-model-empty"}
"""What `verify` may find while the read model is still being mended, and no longer afterwards. What
it finds in the log can't become right: it is broken, even if it were not seen again."""


class Verdict(msgspec.Struct, frozen=True):
    """Says which promises were broken. ``events``: in the log at the end."""

    events: int
    operations: int
    broken: list[Broken]


class _Audit(msgspec.Struct, frozen=True, rename="camel"):
    ok: bool
    violations: int
    partner_lag: dict[str, int]
    shown: list[dict[str, object]]


async def judge(system: System) -> Verdict:
    """Judges once the load has ended, nothing is broken any more, and the services run."""
    assert system.callers is not None
    broken = [*system.callers.broken, *_too_large(system), *await _audited(system)]
    log: dict[tuple[str, int, int], int] = {}
    events: list[Logged] = []
    topics = system.settings.topics
    for record in await _read(system, topics.lock_events):
        log[topics.lock_events, record.partition, record.offset] = content_of(record)
        events.append(_logged(record))
    for partner in PARTNERS:
        topic = topics.partner_events(partner)
        for record in await _read(system, topic):
            log[topic, record.partition, record.offset] = content_of(record)
    broken += await asyncio.to_thread(check_history, system.callers.operations, events)
    broken += check_seen(system.watcher.seen, log)
    broken += check_order(system.watcher.out_of_order)
    return Verdict(len(events), len(system.callers.operations), broken)


def _too_large(system: System) -> list[Broken]:
    return [
        Broken("memory stays bounded", said)
        for members in system.fleet.replicas.values()
        for replica in members
        if (said := replica.memory_exceeded())
    ]


async def _audited(system: System) -> list[Broken]:
    """Returns what `lockstream verify` finds once everything is delivered and folded."""
    deadline = time.monotonic() + SETTLED_S
    lasting: dict[str, Broken] = {}
    while True:
        code, output = await system.lockstream("verify", "--json", timeout_s=VERIFY_S)
        audit = _read_audit(output)
        if audit is None:
            return [Broken("verify gives a verdict", f"exit code {code}: {output[-500:]}")]
        lasting.update({str(v): _found(v) for v in audit.shown if lasts(v)})
        # Others are held back on purpose; what they were given is audited all the same.
        behind = {p: lag for p, lag in audit.partner_lag.items() if lag and p in PARTNERS}
        if audit.ok and not behind:
            return list(lasting.values())
        if time.monotonic() > deadline:
            lasting.update({str(v): _found(v) for v in audit.shown})
            broken = list(lasting.values())
            if behind:
                broken.append(Broken("every partner has everything", f"still missing: {behind}"))
            return broken
        await asyncio.sleep(AGAIN_S)


def lasts(violation: Mapping[str, object]) -> bool:
    """Tells whether a broken promise stays broken even if it is not found again."""
    return violation["kind"] not in MAY_BE_LAG


def _found(violation: Mapping[str, object]) -> Broken:
    return Broken("verify finds nothing", str(violation))


def _read_audit(output: str) -> _Audit | None:
    for line in output.splitlines():
        if line.startswith("{"):
            return msgspec.json.decode(line, type=_Audit)
    return None


async def _read(system: System, topic: str) -> list[Record]:
    numbers = list(range(PARTITIONS))
    ends = await stable_ends(system.kafka, topic, numbers)
    found: list[Record] = []
    async with LogReader.open(system.kafka) as reader:
        async for records in reader.read(topic, dict.fromkeys(numbers, 0), ends):
            found += records
    return found


def _logged(record: Record) -> Logged:
    event = decode_event(record.value or b"")
    temp_key = event.data.temp_key_uuid if isinstance(event, TempKeyUsedEvent) else None
    return Logged(
        record.partition,
        record.offset,
        str(event.event_id),
        event.lock_id,
        event.version,
        temp_key,
    )
