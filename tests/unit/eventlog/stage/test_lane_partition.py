from collections.abc import Sequence
from typing import Any, cast

from eventlog.checkpoints import Checkpoint
from eventlog.records import Record, TopicPartition
from eventlog.stage.lane_partition import Decided, LanePartition
from eventlog.stage.stage_partition import Batch


class Decider:
    note = "of now"


class Bounded:
    """A ``BoundedPartition`` of which nothing is asked but where it ends."""

    note, end = "of now", 20

    def restore(self) -> None: ...
    def process(self) -> None: ...
    def finish(self) -> None: ...


def working(position: int = 10, decider: object = None) -> LanePartition:
    partition = LanePartition(TopicPartition("input", 0), "stage")
    partition.begin(cast(Any, decider or Decider()), position)
    return partition


def at_end(partition: LanePartition) -> bool:
    return partition.is_at_end


def records(begin: int, end: int) -> list[Record]:
    return [Record(0, n, 1_000 * n, None, None, ()) for n in range(begin, end)]


def decide(partition: LanePartition, taken: Sequence[Record], left: Sequence[Record]) -> Decided:
    one = Decided(
        *(partition, Batch((), len(taken)), len(taken), taken[0].timestamp_ms),
        *(taken[-1].offset + 1, "of then", 0, 0),
    )
    partition.decided(one, left)
    return one


def test_a_checkpoint_stands_behind_what_is_done_with_its_note() -> None:
    partition = working()
    taken = records(10, 14)
    partition.take(taken, 20)
    first = decide(partition, taken[:2], taken[2:])
    assert partition.progress == Checkpoint(10, "of now")
    partition.done(first)
    assert partition.progress == Checkpoint(12, "of then")
    partition.done(decide(partition, taken[2:], ()))
    assert partition.progress == Checkpoint(20, "of now"), "markers stand behind the last record"


def test_a_checkpoint_passes_markers_only_while_nothing_is_in_work() -> None:
    partition = working()
    partition.take((), 15)
    assert partition.progress == Checkpoint(15, "of now")
    partition.take(records(15, 16), 16)
    assert partition.progress == Checkpoint(10, "of now")


def test_a_partition_that_does_not_work_keeps_its_checkpoint() -> None:
    partition = working()
    partition.take((), 15)
    partition.end()
    assert partition.progress == Checkpoint(10, "of now")


def test_the_lag_counts_what_is_in_work_and_what_was_not_taken() -> None:
    partition = working()
    assert partition.lag(0).records is None
    partition.high_watermark = 30
    taken = records(10, 14)
    partition.take(taken, 14)
    decide(partition, taken[:2], taken[2:])
    lag = partition.lag(now_ms=12_000)
    assert (lag.records, lag.seconds) == (16 + 4, 2.0)
    partition.end()
    assert partition.lag(0).records == 20


def test_a_partition_that_begins_anew_forgets_what_it_had_decided() -> None:
    partition = working()
    partition.take(records(10, 12), 12)
    decide(partition, records(10, 12), ())
    partition.end()
    partition.begin(cast(Any, Decider()), 10)
    assert partition.progress == Checkpoint(10, "of now")


def test_of_a_stretch_nothing_is_taken_from_its_end_on() -> None:
    partition = working(decider=Bounded())
    partition.take(records(10, 18), 18)
    assert ([r.offset for r in partition.in_process], partition.taken_to) == ([*range(10, 18)], 18)
    partition.take(records(18, 24), 24)
    assert ([r.offset for r in partition.in_process], partition.taken_to) == ([18, 19], 20)
    endless = working()
    endless.take(records(18, 24), 24)
    assert (len(endless.in_process), endless.taken_to) == (6, 24)
    assert not at_end(endless)


def test_a_stretch_is_at_its_end_once_all_of_it_is_decided_on_and_only_once() -> None:
    partition = working(decider=Bounded())
    assert not at_end(partition)
    partition.take(records(10, 24), 24)
    assert not at_end(partition)
    decide(partition, records(10, 20), ())
    assert at_end(partition)
    partition.finished = True
    assert not at_end(partition)
    another = working(20, Bounded())
    assert at_end(another), "also if it begins there"
    another.end()
    assert not at_end(another), "nobody decides"
    partition.begin(cast(Any, Bounded()), 20)
    assert partition.finished is False, "in another attempt"


def test_markers_may_stand_before_the_end_of_a_stretch() -> None:
    partition = working(decider=Bounded())
    partition.take((), 19)
    assert not at_end(partition)
    partition.take((), 20)
    assert at_end(partition)


def test_a_stretch_that_is_done_with_is_not_behind() -> None:
    partition = working(decider=Bounded())
    partition.high_watermark = 90
    assert partition.lag(0).records == 10
    partition.take((), 20)
    assert partition.lag(0).records == 0
    partition.end()
    assert partition.lag(0).records == 10
    ended_at_once = working(20, Bounded())
    ended_at_once.finished = True
    assert ended_at_once.lag(0).records == 0
