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


def decided(of: LanePartition, count: int, size: int = 10) -> Decided:
    taken = records(count, size)
    return Decided(of, Batch((), count), count, 0, count, "", memory_of(taken), 0)


def test_what_is_decided_is_bounded_by_its_number() -> None:
    pending = Pending(Budget(10**9).share())
    pending.add(decided(partition(), MOST_RECORDS - 3))
    assert pending.room() == 3
    pending.add(decided(partition(), 3))
    assert pending.room() == 0
    pending.take_all()
    assert pending.room() == MOST_RECORDS


def test_what_is_decided_is_bounded_by_what_it_takes_and_by_what_others_leave() -> None:
    budget = Budget(10**9)
    pending = Pending(budget.share())
    pending.add(decided(partition(), 3, size=1_000_000))
    assert pending.room() == 0
    pending.release(pending.take_all())
    other = budget.share()
    other.take(10**9)
    assert pending.room() > 0, "who holds nothing gets a portion, whatever others hold"
    pending.add(decided(partition(), 1))
    assert pending.room() == 0


def test_what_is_written_counts_until_it_is_released() -> None:
    budget = Budget(10**9)
    pending = Pending(budget.share())
    one = decided(partition(), 5)
    pending.add(one)
    taken = pending.take_all()
    assert budget.used == one.bytes
    pending.release(taken)
    assert budget.used == 0


def test_a_partition_that_begins_anew_loses_only_its_own() -> None:
    budget = Budget(10**9)
    pending = Pending(budget.share())
    first, second = partition(0), partition(1)
    mine, others = decided(first, 5), decided(second, 7)
    pending.add(mine)
    pending.add(others)
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
