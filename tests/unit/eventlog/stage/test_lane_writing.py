from eventlog.stage.lane_writing import LONGEST_REST_S, MARKERS_S, PLENTY, rest_s


def test_one_record_alone_keeps_nobody_waiting() -> None:
    assert rest_s(1, took_s=0.01, times=2.0) == MARKERS_S


def test_the_more_came_together_the_longer_it_rests() -> None:
    few, more = rest_s(2, took_s=0.01, times=1.0), rest_s(20, took_s=0.01, times=1.0)
    assert MARKERS_S < few < more < 0.01


def test_no_rest_is_longer_than_the_longest() -> None:
    assert rest_s(50, took_s=5.0, times=2.0) == LONGEST_REST_S


def test_behind_plenty_it_does_not_rest() -> None:
    assert rest_s(PLENTY, took_s=0.01, times=2.0) == MARKERS_S
