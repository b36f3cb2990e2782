"""How many events partners are entitled to: where the count begins, and what is read for it."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from eventlog.checkpoints import Checkpoint
from eventlog.records import Record
from fanout.undelivered import Counted, EntitledCounter, known_counts
from runtime.errors import KafkaUnavailable
from schemas.lock_events import EventHeaders
from schemas.registry import Partner, PausedAt
from schemas.topics import LockTopics
from tests.examples_of import TIME

TOPICS = LockTopics("", 2)


def partner(partner_id: str = "a", org_id: str = "acme", **more: Any) -> Partner:
    return Partner(
        **{
            "id": partner_id,
            "org_id": org_id,
            "types": ("*",),
            "start_offsets": (0, 0),
            "created_at": TIME,
            **more,
        }
    )


def noted(offset: int, sequence: int, since: str = TIME) -> Checkpoint:
    return Checkpoint(offset, f"sequence={sequence};since={since}")


def event(offset: int, org_id: str = "acme", partition: int = 0) -> Record:
    headers = EventHeaders("id", "TempKeyUsed", org_id, 1, offset).to_kafka()
    return Record(partition, offset, 0, b"7", b"", headers)


class Stream:
    """Stands for a reader of ``lock-events``; ``reads``: what was asked of it."""

    def __init__(self, *records: Record) -> None:
        self.records = records
        self.reads: list[tuple[dict[int, int], dict[int, int]]] = []
        self.breaks = False

    async def read(
        self, topic: str, begin: Mapping[int, int], end: Mapping[int, int], at_once: int
    ) -> AsyncIterator[list[Record]]:
        assert topic == "lock-events"
        self.reads.append((dict(begin), dict(end)))
        for record in self.records:
            number = record.partition
            if number in begin and begin[number] <= record.offset < end[number]:
                yield [record]
        if self.breaks:
            raise KafkaUnavailable("away")


async def count(
    counter: EntitledCounter, stream: Stream, ends: Mapping[int, int], most: int | None = None
) -> None:
    for stretch in counter.stretches(ends, most):
        await counter.count(stream, stretch)  # type: ignore[arg-type]


def test_a_count_begins_at_the_furthest_that_is_known() -> None:
    start = partner(start_offsets=(5, 6))
    assert known_counts(start, 2, {}) == {0: Counted(5, 0), 1: Counted(6, 0)}
    paused = partner(start_offsets=(5, 6), paused_at=(PausedAt(9, 3, 7), PausedAt(8, 2, 7)))
    checkpoints = {0: noted(12, 4), 1: noted(7, 1)}
    assert known_counts(paused, 2, checkpoints) == {0: Counted(12, 4), 1: Counted(8, 2)}


@pytest.mark.parametrize(
    "checkpoint",
    [noted(12, 4, "2026-01-01T00:00:00.000Z"), Checkpoint(12, ""), Checkpoint(12, "x")],
)
def test_a_checkpoint_of_another_registration_or_without_a_note_says_nothing(
    checkpoint: Checkpoint,
) -> None:
    assert known_counts(partner(), 1, {0: checkpoint}) == {0: Counted(0, 0)}


async def test_each_partner_is_counted_from_its_own_place_on_in_one_reading() -> None:
    records = [event(n, "acme" if n % 2 else "bolt") for n in range(10)]
    stream, counter = Stream(*records), EntitledCounter(TOPICS)
    counter.begin([partner("a"), partner("late"), partner("b", "bolt")])
    counter.know("a", {0: Counted(0, 0)})
    counter.know("late", {0: Counted(6, 7)})
    counter.know("b", {0: Counted(4, 2)})
    await count(counter, stream, {0: 10})
    assert stream.reads == [({0: 0}, {0: 10})]
    assert counter.undelivered("a", {0: 10}, {}) == 5
    assert counter.undelivered("late", {0: 10}, {0: 7}) == 2
    assert counter.undelivered("b", {0: 10}, {0: 4}) == 1


async def test_what_is_counted_is_not_counted_again() -> None:
    stream, counter = Stream(*(event(n) for n in range(20))), EntitledCounter(TOPICS)
    counter.begin([partner()])
    counter.know("a", {0: Counted(0, 0)})
    await count(counter, stream, {0: 10})
    counter.begin([partner()])
    counter.know("a", {0: Counted(3, 3)})
    await count(counter, stream, {0: 20})
    assert stream.reads == [({0: 0}, {0: 10}), ({0: 10}, {0: 20})]
    assert counter.undelivered("a", {0: 20}, {0: 15}) == 5


async def test_a_reading_that_breaks_off_has_counted_nothing() -> None:
    stream, counter = Stream(*(event(n) for n in range(10))), EntitledCounter(TOPICS)
    counter.begin([partner()])
    counter.know("a", {0: Counted(0, 0)})
    stream.breaks = True
    with pytest.raises(KafkaUnavailable):
        await count(counter, stream, {0: 10})
    stream.breaks = False
    await count(counter, stream, {0: 10})
    assert counter.undelivered("a", {0: 10}, {}) == 10


async def test_a_partner_whose_entry_has_changed_is_counted_anew() -> None:
    stream, counter = Stream(event(0), event(1)), EntitledCounter(TOPICS)
    counter.begin([partner()])
    counter.know("a", {0: Counted(0, 0)})
    await count(counter, stream, {0: 2})
    counter.begin([partner(types=("LockCreated",))])
    assert counter.undelivered("a", {0: 2}, {}) is None
    counter.know("a", {0: Counted(0, 0)})
    await count(counter, stream, {0: 2})
    assert counter.undelivered("a", {0: 2}, {}) == 0


async def test_who_is_far_behind_does_not_hold_up_the_others_and_arrives_in_the_end() -> None:
    stream, counter = Stream(*(event(n) for n in range(100))), EntitledCounter(TOPICS)
    counter.begin([partner("near"), partner("far")])
    counter.know("near", {0: Counted(95, 95)})
    counter.know("far", {0: Counted(0, 0)})
    assert [p.id for p in counter.far_behind({0: 100}, 20)] == ["far"]
    await count(counter, stream, {0: 100}, most=20)
    assert stream.reads == [({0: 95}, {0: 100}), ({0: 0}, {0: 15})]
    assert counter.undelivered("near", {0: 100}, {0: 95}) == 5
    assert counter.undelivered("far", {0: 100}, {}) is None
    for _ in range(5):
        await count(counter, stream, {0: 100}, most=20)
    assert counter.undelivered("far", {0: 100}, {}) == 100
    assert counter.far_behind({0: 100}, 20) == []
    assert max(end[0] - begin[0] for begin, end in stream.reads) <= 20


async def test_what_retention_has_taken_was_delivered_all_the_same() -> None:
    stream, counter = Stream(*(event(n) for n in range(10))), EntitledCounter(TOPICS)
    counter.begin([partner()])
    counter.know("a", {0: Counted(4, 4)})
    await count(counter, stream, {0: 8})
    assert counter.waiting_in("a") == [0]
    assert counter.undelivered("a", {0: 8}, {0: 8}) == 0
    assert counter.waiting_in("a") == []
    await count(counter, stream, {0: 10})
    assert counter.undelivered("a", {0: 10}, {}) == 2


async def test_a_record_that_no_projector_wrote_is_nobodys() -> None:
    counter = EntitledCounter(TOPICS)
    counter.begin([partner()])
    counter.know("a", {0: Counted(0, 0)})
    foreign = Record(0, 0, 0, b"7", b"", ())
    await count(counter, Stream(foreign, event(1)), {0: 2})
    assert counter.undelivered("a", {0: 2}, {}) == 1
