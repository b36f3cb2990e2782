"""How long the pauses between attempts are."""

from runtime.backoff import Backoff


def pauses(backoff: Backoff, count: int) -> list[float]:
    return [backoff.next() for _ in range(count)]


def test_pauses_double_up_to_the_longest_and_begin_again_after_a_success() -> None:
    backoff = Backoff(0.5, 3.0)
    assert pauses(backoff, 5) == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert pauses(backoff, 2) == [0.5, 1.0]


def test_whoever_is_tried_again_at_once_pauses_from_then_on() -> None:
    backoff = Backoff(0.0, 3.0, second_s=0.5)
    assert pauses(backoff, 4) == [0.0, 0.5, 1.0, 2.0]
    backoff.reset()
    assert pauses(backoff, 2) == [0.0, 0.5]
