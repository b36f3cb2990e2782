"""Checks what the clients did and saw against the log. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from schemas.records import Place

Outcome = Literal["ok", "pending", "refused", "not-recorded", "unknown"]
"""``ok``: 200; ``pending``: 202; ``refused``: 4xx; ``not-recorded``: a 503 that says so;
``unknown``: a 503 that can't say, or no answer."""

Promise = Literal[
    "recorded at most once",
    "what was refused is not recorded",
    "what was accepted (202) becomes an event",
    "one key, one answer",
    "what was answered is in the log",
    "no event from nowhere",
    "versions follow real time",
    "what was read stays",
    "a reader is given each record once, in order",
    "every request is answered in time",
    "202 and 503 say when to ask again",
    "a good command is not refused",
    "memory stays bounded",
    "verify gives a verdict",
    "verify finds nothing",
    "every partner has everything",
    "everything works before a fault",
    "the fault could be injected",
    "everything recovers within its bound",
    "the cluster could be tested",
    "the read model can be rebuilt under load",
    "what can't become an event is parked",
    "a parked fact keeps its bytes and says why",
    "partners that were held back catch up",
    "a foreign record is detected",
    "a foreign record is not spread",
    "verify names a foreign record",
]
"""What a run can find broken; each is planted in ``tests/unit/chaos``."""


class Attempt(msgspec.Struct, frozen=True):
    """One request. Times are seconds of the monotonic clock."""

    started_at: float
    ended: float
    outcome: Outcome
    status: int = 0
    event_id: str = ""
    version: int = 0


class Operation(msgspec.Struct, frozen=True):
    """One command, and all attempts at it. ``temp_key``: unique, by which its event is known."""

    lock_id: int
    temp_key: str
    idempotency_key: str | None
    attempts: Sequence[Attempt]

    @property
    def started_at(self) -> float:
        return min(attempt.started_at for attempt in self.attempts)

    @property
    def answers(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.outcome == "ok"]


class Logged(msgspec.Struct, frozen=True):
    """One committed record of ``lock-events``."""

    partition: int
    offset: int
    event_id: str
    lock_id: int
    version: int
    temp_key: str | None


class Seen(msgspec.Struct, frozen=True):
    """One record that a live read_committed reader was given. ``content``: a hash of it."""

    topic: str
    partition: int
    offset: int
    content: int


class Broken(msgspec.Struct, frozen=True):
    """A promise that was not kept. ``at``: when the command began that shows it, if one does."""

    promise: Promise
    detail: str
    at: float | None = None


def check_history(operations: Sequence[Operation], log: Sequence[Logged]) -> list[Broken]:
    """Checks every promise that the answers made against the whole log."""
    events: dict[str, list[Logged]] = {}
    for event in log:
        if event.temp_key is not None:
            events.setdefault(event.temp_key, []).append(event)
    broken: list[Broken] = []
    for operation in operations:
        broken += _check_operation(operation, events.get(operation.temp_key, []))
    known = {operation.temp_key for operation in operations}
    broken += [
        Broken("no event from nowhere", f"{found[0].event_id} (temp key {temp_key})")
        for temp_key, found in events.items()
        if temp_key not in known
    ]
    return [*broken, *_check_real_time(operations)]


def _check_operation(operation: Operation, found: Sequence[Logged]) -> Iterable[Broken]:
    name = f"lock {operation.lock_id}, temp key {operation.temp_key}"

    def broken(promise: Promise, detail: str) -> Broken:
        return Broken(promise, f"{name}: {detail}", operation.started_at)

    if len(found) > 1:
        yield broken("recorded at most once", f"{len(found)} events")
    outcomes = {attempt.outcome for attempt in operation.attempts}
    if outcomes <= {"refused", "not-recorded"} and found:
        yield broken("what was refused is not recorded", f"event {found[0].event_id}")
    if "pending" in outcomes and not found:
        yield broken("what was accepted (202) becomes an event", "there is none")
    answers = {(attempt.event_id, attempt.version) for attempt in operation.answers}
    if len(answers) > 1:
        yield broken("one key, one answer", f"{sorted(answers)}")
    for event_id, version in answers:
        if not any(e.event_id == event_id and e.version == version for e in found):
            standing = [(e.event_id, e.version) for e in found]
            yield broken(
                "what was answered is in the log",
                f"answered {event_id} version {version}, the log has {standing}",
            )


def _check_real_time(operations: Sequence[Operation]) -> Iterable[Broken]:
    """Checks that an answer has a lower version than commands on that lock that began after it."""
    by_lock: dict[int, list[Operation]] = {}
    for operation in operations:
        if operation.answers:
            by_lock.setdefault(operation.lock_id, []).append(operation)
    for lock_id, answered in by_lock.items():
        ends = sorted((min(a.ended for a in o.answers), o.answers[0].version) for o in answered)
        highest, next_end = 0, 0
        for operation in sorted(answered, key=lambda o: o.started_at):
            while next_end < len(ends) and ends[next_end][0] < operation.started_at:
                highest = max(highest, ends[next_end][1])
                next_end += 1
            version = operation.answers[0].version
            if version <= highest:
                yield Broken(
                    "versions follow real time",
                    f"lock {lock_id}: version {version} was given to a command that began after "
                    f"version {highest} had been answered",
                    operation.started_at,
                )


def check_order(out_of_order: Iterable[Seen]) -> list[Broken]:
    """Checks the order of live reading. ``out_of_order``: records that came again, or too late."""
    return [Broken("a reader is given each record once, in order", f"{s}") for s in out_of_order]


def check_seen(seen: Iterable[Seen], log: Mapping[tuple[str, int, int], int]) -> list[Broken]:
    """Checks that what a live reader got still stands there. ``log``: place → hash of content."""
    broken: list[Broken] = []
    for record in seen:
        standing = log.get((record.topic, record.partition, record.offset))
        if standing != record.content:
            what = "is gone" if standing is None else "has changed"
            place = Place(record.topic, record.partition, record.offset)
            broken.append(Broken("what was read stays", f"{place} {what}"))
    return broken
