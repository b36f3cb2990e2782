from eventlog.stage.lane_writing import LONGEST_REST_S, MARKERS_S, PLENTY, rest_s
from eventlog.stage.setup import Rest


def test_one_record_alone_keeps_nobody_waiting() -> None:
    assert rest_s(1, 0.01, Rest(times=2.0)) == MARKERS_S


def test_the_more_came_together_the_longer_it_rests() -> None:
    few, more = rest_s(2, 0.01, Rest(times=1.0)), rest_s(20, 0.01, Rest(times=1.0))
    assert MARKERS_S < few < more < 0.01


def test_who_stands_back_rests_after_one_record_too() -> None:
    assert rest_s(1, 0.001, Rest(times=2.0, least_s=0.01)) == 0.01


def test_no_rest_is_longer_than_the_longest() -> None:
    assert rest_s(50, 5.0, Rest(times=2.0)) == LONGEST_REST_S


def test_behind_plenty_it_does_not_rest() -> None:
    assert rest_s(PLENTY, 0.01, Rest(times=2.0, least_s=0.01)) == MARKERS_S
