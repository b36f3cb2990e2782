import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_api import rate_limits
from command_api.errors import RateLimited
from command_api.rate_limits import RateLimits
from command_api.token_bucket import Quota, TokenBucket

MINUTE = Quota("key", 6, 60)
ITEM = r'"(organization|key)"'


def takes(limits: RateLimits, count: int, now: float, key: str = "k", org: str = "o") -> int:
    """How many of so many requests are let through."""
    through = 0
    for _ in range(count):
        try:
            limits.take(org, key, now)
        except RateLimited:
            continue
        through += 1
    return through


def test_off_means_off_and_remembers_nothing() -> None:
    limits = RateLimits(0, 0, 60)
    assert limits.take("o", "k", 0.0) == {}
    assert takes(limits, 1000, 0.0) == 1000
    assert len(limits) == 0


def test_a_full_bucket_is_the_quota_and_fills_evenly() -> None:
    limits = RateLimits(0, 6, 60)
    assert takes(limits, 10, 0.0) == 6
    assert takes(limits, 10, 9.9) == 0
    assert takes(limits, 10, 10.0) == 1
    assert takes(limits, 10, 1000.0) == 6


def test_a_caller_that_is_not_known_has_a_full_bucket_and_waits_for_nothing() -> None:
    full = TokenBucket.full(MINUTE, 7.0)
    assert full == TokenBucket(MINUTE, 6.0, 7.0)
    assert full.wait_s() == 0


def test_keys_have_buckets_of_their_own_below_their_organisations() -> None:
    limits = RateLimits(10, 6, 60)
    assert takes(limits, 10, 0.0, key="a") == 6
    assert takes(limits, 10, 0.0, key="b") == 4
    assert takes(limits, 10, 0.0, key="c", org="other") == 6


def test_what_one_bucket_refuses_costs_nothing_in_the_other() -> None:
    limits = RateLimits(8, 6, 60)
    takes(limits, 100, 0.0, key="a")
    assert takes(limits, 10, 0.0, key="b") == 2


def test_an_answer_says_what_is_left_and_when_there_will_be_more() -> None:
    limits = RateLimits(100, 6, 60)
    headers = limits.take("o", "k", 0.0)
    assert headers == {
        "RateLimit-Policy": '"organization";q=100;w=60, "key";q=6;w=60',
        "RateLimit": '"organization";r=99;t=1, "key";r=5;t=10',
    }


def test_a_refusal_says_when_to_come_again_and_then_it_works() -> None:
    limits = RateLimits(0, 6, 60)
    takes(limits, 6, 0.0)
    with pytest.raises(RateLimited) as refused:
        limits.take("o", "k", 3.5)
    assert refused.value.headers["RateLimit"] == '"key";r=0;t=7'
    assert refused.value.headers["Retry-After"] == "7"
    assert limits.take("o", "k", 3.5 + 7)


def test_whoever_waits_as_told_is_let_through_by_both_buckets() -> None:
    limits = RateLimits(2, 1, 60)
    limits.take("o", "other", 0.0)
    limits.take("o", "k", 0.0)
    with pytest.raises(RateLimited) as refused:
        limits.take("o", "k", 0.0)
    assert refused.value.headers["RateLimit"] == '"organization";r=0;t=30, "key";r=0;t=60'
    assert refused.value.headers["Retry-After"] == "60"
    assert limits.take("o", "k", 60.0)


def test_a_clock_that_stands_or_goes_back_gives_nothing_away() -> None:
    limits = RateLimits(0, 6, 60)
    takes(limits, 6, 100.0)
    assert takes(limits, 10, 40.0) == 0


def test_the_buckets_are_bounded_and_the_idlest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rate_limits, "BUCKETS_KEPT", 3)
    limits = RateLimits(0, 2, 60)
    for key in "abcad":
        limits.take("o", key, 0.0)
        assert len(limits) <= 3
    assert [takes(limits, 3, 0.0, key=key) for key in "acdb"] == [0, 1, 1, 2]


def test_whoever_asks_in_vain_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "BUCKETS_KEPT", 3)
    limits = RateLimits(0, 1, 60)
    assert [takes(limits, 1, 0.0, key=key) for key in "abcadab"] == [1, 1, 1, 0, 1, 0, 1]


@given(
    st.integers(1, 50),
    st.integers(1, 100),
    st.lists(st.floats(0, 30, allow_nan=False), max_size=200),
)
def test_no_window_lets_more_through_than_a_full_bucket_and_what_flowed_in(
    size: int, window_s: int, pauses: list[float]
) -> None:
    limits, now, through = RateLimits(0, size, window_s), 0.0, 0
    for pause in pauses:
        now += pause
        through += takes(limits, 1, now)
    assert through <= size + now * size / window_s + 1e-6


@given(st.floats(0, 6), st.floats(0, 1000), st.floats(0, 1000))
def test_waiting_as_told_brings_a_token(tokens: float, at: float, later: float) -> None:
    bucket = TokenBucket(MINUTE, tokens, at).refilled(at + later)
    assert 0 <= bucket.tokens <= MINUTE.size
    waited = bucket.refilled(bucket.at + bucket.wait_s())
    assert waited.tokens >= min(MINUTE.size, int(bucket.tokens) + 1) - 1e-6


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(1, 86400))
def test_the_fields_are_lists_of_strings_with_integers(org: int, key: int, window: int) -> None:
    headers = RateLimits(org, key, window).take("o", "k", 0.0)
    assert re.fullmatch(rf"{ITEM};q=\d+;w=\d+, {ITEM};q=\d+;w=\d+", headers["RateLimit-Policy"])
    assert re.fullmatch(rf"{ITEM};r=\d+;t=\d+, {ITEM};r=\d+;t=\d+", headers["RateLimit"])
