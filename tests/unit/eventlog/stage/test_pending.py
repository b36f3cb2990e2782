import tracemalloc

from eventlog.records import Record, TopicPartition
from eventlog.stage.budget import Budget
from eventlog.stage.lane_partition import Decided, LanePartition
from eventlog.stage.pending import IN_WORK_TIMES, MOST_RECORDS, Pending, memory_of
from eventlog.stage.stage_partition import Batch


def records(count: int, size: int = 10) -> list[Record]:
    return [Record(0, n, 0, b"k", b"x" * size, ()) for n in range(count)]


def partition(number: int = 0) -> LanePartition:
    return LanePartition(TopicPartition("input", number), "stage")


def decided(pending: Pending, of: LanePartition, count: int, size: int = 10) -> Decided:
    """As after deciding on so many records."""
    held = pending.hold(records(count, size))
    one = Decided(of, Batch((), count), count, 0, count, "", held, 0)
    pending.add(one)
    return one


def test_what_is_decided_is_bounded_by_its_number() -> None:
    pending = Pending(Budget(10**9).share())
    decided(pending, partition(), MOST_RECORDS - 3)
    assert pending.room() == 3
    decided(pending, partition(), 3)
    assert pending.room() == 0
    pending.take_all()
    assert pending.room() == MOST_RECORDS


def test_what_is_decided_is_bounded_by_what_it_takes() -> None:
    pending = Pending(Budget(10**9).share())
    decided(pending, partition(), 3, size=1_000_000)
    assert pending.room() == 0
    pending.take_all()
    assert 1 <= pending.room() <= 3, "the next ones may be as large"


def test_what_is_decided_is_bounded_by_what_others_leave() -> None:
    budget = Budget(10**9)
    pending, other = Pending(budget.share()), budget.share()
    other.take(10**9)
    assert pending.room() > 0, "who holds nothing gets a portion, whatever others hold"
    decided(pending, partition(), 1)
    assert pending.room() == 0


def test_what_is_in_work_counts_from_its_deciding_until_it_is_released() -> None:
    budget = Budget(10**9)
    pending = Pending(budget.share())
    one = decided(pending, partition(), 5)
    assert budget.used == one.bytes
    pending.take_all()
    assert budget.used == one.bytes
    pending.release(one.bytes)
    assert budget.used == 0


def test_a_partition_that_begins_anew_loses_only_its_own() -> None:
    budget = Budget(10**9)
    pending = Pending(budget.share())
    first, second = partition(0), partition(1)
    decided(pending, first, 5)
    others = decided(pending, second, 7)
    pending.drop(first)
    assert (pending.room(), budget.used) == (MOST_RECORDS - 7, others.bytes)
    assert pending.take_all() == [others]


def test_memory_is_what_records_really_take() -> None:
    header = (("event-id", b"x" * 36), ("org-id", b"acme"))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    made = [
        Record(
            0,
            1_000 + n,
            1_700_000_000_000 + n,
            b"%d" % n,
            b"v" * 400 + b"%d" % n,
            tuple((f"{name}{n}", value + b"%d" % n) for name, value in header),
        )
        for n in range(1_000)
    ]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.7 < memory_of(made) / IN_WORK_TIMES / (after - before) < 1.6
