"""What ``lockstream status`` makes of what Kafka says of a group."""

import time

from eventlog.groups import GroupState, Member, Progress
from operations.running.status import _partition_rows, _stage, _stage_row, page_addresses
from runtime.settings import Settings


def waiting(position: int, end: int, seconds: float = 0.0) -> Progress:
    return Progress(position, end, int((time.time() - seconds) * 1000))


ONE, TWO = Member("one", "10.0.0.1", (0, 2)), Member("two", "10.0.0.2", (1,))
DONE = Progress(7, 9)
"""All that waits is a transaction's marker."""


def test_a_stage_is_as_far_behind_as_its_partitions_together_and_as_late_as_the_latest() -> None:
    progress = {0: DONE, 1: waiting(3, 8, 50.0), 2: waiting(1, 2, 10.0)}
    stage = _stage("projector", GroupState([ONE, TWO], progress), paused=False)
    assert (stage.lag, stage.state, stage.unowned) == (6, "running", [])
    assert 50.0 <= stage.lag_seconds < 55.0


def test_partitions_that_nobody_has_are_named() -> None:
    progress = dict.fromkeys(range(3), DONE)
    partly = _stage("projector", GroupState([ONE], progress), paused=False)
    assert (partly.state, partly.unowned) == ("partly without owner", [1])
    nobody = _stage("projector", GroupState([], progress), paused=False)
    assert (nobody.state, nobody.unowned) == ("nobody has it", [0, 1, 2])
    paused = _stage("partner crm", GroupState([], progress), paused=True)
    assert (paused.state, paused.lag, paused.lag_seconds) == ("paused", 0, 0.0)
    assert _stage_row(partly)[2:5] == ("one@10.0.0.1", "2 of 3", "0")
    assert _stage_row(nobody)[2:5] == ("none", "0 of 3", "0")
    assert [row[1:5] for row in _partition_rows(partly)] == [
        (0, "one", 7, 9),
        (1, "none", 7, 9),
        (2, "one", 7, 9),
    ]


def test_health_pages_are_named_with_commas_between_them() -> None:
    settings = Settings(health_pages=" http://a:1/ ,,http://b:2 ")
    assert page_addresses(settings) == ["http://a:1", "http://b:2"]
    assert page_addresses(Settings()) == []
