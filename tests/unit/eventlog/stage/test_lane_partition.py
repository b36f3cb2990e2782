from collections.abc import Sequence
from typing import Any, cast

from eventlog.checkpoints import Checkpoint
from eventlog.records import Record, TopicPartition
from eventlog.stage.lane_partition import Decided, LanePartition
from eventlog.stage.stage_partition import Batch


class Decider:
    note = "of now"


def working(position: int = 10) -> LanePartition:
    partition = LanePartition(TopicPartition("input", 0), "stage")
    partition.begin(cast(Any, Decider()), position)
    return partition


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
